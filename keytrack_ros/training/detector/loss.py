"""What the detector is asked for: which cells answer for which person, and the losses of score and box.

Assignment: SimOTA (Ge et al., YOLOX, 2021, §2.1; dynamic k). Score: quality focal loss towards the IoU of the cell's
own box (Li et al., Generalized Focal Loss, 2020, eq. 4). Box: generalised IoU (Rezatofighi et al., 2019). Where a
teacher is asked, too (distillation; Hinton et al., 2015), both are towards mixtures of its answer and the label's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

CENTRE_RADIUS = 2.5
"""Cells within this many strides of a box's centre, or inside the box, may answer for it."""

CANDIDATES = 10
"""A person gets as many cells as the sum of the IoUs of its best ones, this many, comes to."""

LEAST_TAUGHT = 0.3
"""Score from which a cell learns the teacher's box."""

IOU_COST = 3.0
NOT_BOTH_COST = 1e4
BOX_WEIGHT = 2.0


@dataclass(frozen=True)
class Targets:
    """Padded boxes of a batch.

    Attributes:
        boxes: [N, G, 4] float32 x_min, y_min, x_max, y_max; zeros where there is none.
        people: [N, G] bool, boxes of people.
        doubtful: [N, G] bool, boxes in which nothing is asked.
    """

    boxes: Tensor
    people: Tensor
    doubtful: Tensor

    def to(self, device: torch.device) -> Targets:
        return Targets(self.boxes.to(device), self.people.to(device), self.doubtful.to(device))


@dataclass(frozen=True)
class Taught:
    """A teacher's boxes [N, A, 4] float32 and scores [N, A] float32, 0..1, of every cell."""

    boxes: Tensor
    scores: Tensor

    def to(self, device: torch.device) -> Taught:
        return Taught(self.boxes.to(device), self.scores.to(device))


@dataclass(frozen=True)
class Predictions:
    """Decoded output: boxes [N, A, 4] float32, logits [N, A] float32; centres [A, 2] and strides [A] of the cells."""

    boxes: Tensor
    logits: Tensor
    centres: Tensor
    strides: Tensor


def decode_maps(maps: list[Tensor], strides: tuple[int, ...]) -> Predictions:
    """Raw maps [N, 5, h, w], one for each stride, decoded as `detection.yolox.decode` does."""
    corners, scales = [], []
    for level, stride in zip(maps, strides, strict=True):
        rows, columns = torch.meshgrid(
            torch.arange(level.shape[2], device=level.device),
            torch.arange(level.shape[3], device=level.device),
            indexing="ij",
        )
        corners.append(torch.stack([columns.flatten(), rows.flatten()], 1))
        scales.append(torch.full((rows.numel(),), stride, device=level.device))
    corner, scale = torch.cat(corners).float(), torch.cat(scales).float()  # [A, 2], [A]
    raw = torch.cat([level.flatten(2) for level in maps], 2).permute(0, 2, 1).float()  # [N, A, 5]
    centre = (raw[..., :2] + corner) * scale[:, None]
    half = raw[..., 2:4].clamp(max=8).exp() * scale[:, None] / 2
    return Predictions(
        torch.cat([centre - half, centre + half], 2), raw[..., 4], (corner + 0.5) * scale[:, None], scale
    )


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """[..., A, 4], [..., B, 4] → [..., A, B]."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    size = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    intersection = size.prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - intersection
    return intersection / union.clamp(min=1e-6)


def giou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Generalised IoU and IoU of rows, [M, 4] and [M, 4] → [M] each."""
    size = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    intersection = size.prod(-1)
    union = ((a[:, 2:] - a[:, :2]).prod(-1) + (b[:, 2:] - b[:, :2]).prod(-1) - intersection).clamp(min=1e-6)
    around = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(-1).clamp(min=1e-6)
    iou = intersection / union
    return iou - (around - union) / around, iou


@torch.no_grad()
def assign(found: Predictions, targets: Targets) -> tuple[Tensor, Tensor]:
    """Which person each cell answers for.

    Returns [N, A] int64, index of the box or −1, and [N, A] bool, cells whose centre lies in a doubtful box.
    """
    owners = torch.full_like(found.logits, -1, dtype=torch.int64)
    excused = torch.zeros_like(owners, dtype=torch.bool)
    for image, (boxes, people, doubtful) in enumerate(
        zip(targets.boxes, targets.people, targets.doubtful, strict=True)
    ):
        excused[image] = _inside(boxes[doubtful], found.centres).any(0)
        rows = people.nonzero()[:, 0]
        if len(rows):
            owner = _assigned(found.boxes[image], found.logits[image], found, boxes[rows])
            owners[image] = torch.where(owner >= 0, rows[owner], -1)
    return owners, excused


def _inside(boxes: Tensor, points: Tensor) -> Tensor:
    """[G, 4], [A, 2] → [G, A] bool."""
    x, y = points[:, 0], points[:, 1]
    left, top, right, bottom = boxes.T[..., None]  # [G, 1] each
    inside: Tensor = (x > left) & (x < right) & (y > top) & (y < bottom)
    return inside


def _assigned(predicted: Tensor, logits: Tensor, found: Predictions, boxes: Tensor) -> Tensor:
    """Of one image: boxes [A, 4] and logits [A] of the cells, people's boxes [G, 4] → index of the box or −1, [A]."""
    inside = _inside(boxes, found.centres)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = (found.centres - middle[:, None]).abs().amax(-1) < CENTRE_RADIUS * found.strides
    owners = torch.full_like(logits, -1, dtype=torch.int64)
    # Most cells are far from everybody: only the others are compared with the people.
    cells = (inside | near).any(0).nonzero()[:, 0]
    if not len(cells):
        return owners
    inside, near = inside[:, cells], near[:, cells]
    possible = inside | near
    overlap = pairwise_iou(boxes, predicted[cells]) * possible  # [G, cells]
    logit = logits[cells].expand_as(overlap)
    cost = (
        binary_cross_entropy_with_logits(logit, overlap, reduction="none") * (overlap - logit.sigmoid()).abs().square()
    )
    cost = cost - IOU_COST * (overlap + 1e-7).log() + NOT_BOTH_COST * ~(inside & near)
    cost = cost.masked_fill(~possible, torch.inf)

    number = min(CANDIDATES, len(cells))
    wanted = overlap.topk(number, 1).values.sum(1).int().clamp(min=1)  # [G]
    best = cost.topk(number, 1, largest=False)
    taken = (torch.arange(number, device=cost.device) < wanted[:, None]) & best.values.isfinite()
    chosen = torch.zeros_like(possible).scatter(1, best.indices, taken)
    # A cell that several people want answers for the one whose cost is least.
    lowest, owner = cost.masked_fill(~chosen, torch.inf).min(0)
    owners[cells] = torch.where(lowest.isfinite(), owner, -1)
    return owners


def detector_loss(
    found: Predictions, targets: Targets, taught: Taught | None = None, teacher_share: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Losses of score and box, each a sum over the batch divided by the number of answering cells.

    With a teacher, `teacher_share` of a cell's wished score is the teacher's, the rest the label's; in doubtful boxes
    all of it is. A cell from whom the label wants a box learns it with the rest's weight, one to which the teacher
    gives at least `LEAST_TAUGHT` learns the teacher's box with the share's, times that score.
    """
    owner, excused = assign(found, targets)
    positive = owner >= 0
    image, cell = positive.nonzero(as_tuple=True)
    wanted = targets.boxes[image, owner[image, cell]]
    generalised, overlap = giou(found.boxes[image, cell], wanted)
    box = (1 - generalised).sum()
    count = positive.sum().float()
    quality = torch.zeros_like(found.logits)
    quality[image, cell] = overlap.detach().clamp(0, 1)
    asked = positive | ~excused
    if taught is not None:
        quality = torch.where(asked, quality + teacher_share * (taught.scores - quality), taught.scores)
        asked = torch.ones_like(asked)
        image, cell = (taught.scores >= LEAST_TAUGHT).nonzero(as_tuple=True)
        sure = teacher_share * taught.scores[image, cell]
        generalised, _ = giou(found.boxes[image, cell], taught.boxes[image, cell])
        box = (1 - teacher_share) * box + (sure * (1 - generalised)).sum()
        count = (1 - teacher_share) * count + sure.sum()
    score = binary_cross_entropy_with_logits(found.logits, quality, reduction="none")
    score = score * (quality - found.logits.sigmoid()).abs().square() * asked
    count = count.clamp(min=1)
    return score.sum() / count, BOX_WEIGHT * box / count
