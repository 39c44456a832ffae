"""Assignment and losses of the detector against values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from keytrack_ros.detection import yolox
from keytrack_ros.detection.nano import STRIDES, to_rows
from keytrack_ros.training.detector.loss import (
    BOX_WEIGHT,
    Predictions,
    Targets,
    Taught,
    assign,
    decode_maps,
    detector_loss,
    giou,
    pairwise_iou,
)


def targets(*boxes: tuple[float, float, float, float], doubtful: tuple[int, ...] = ()) -> Targets:
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(1, -1, 4)
    doubt = torch.tensor([[index in doubtful for index in range(len(boxes))]], dtype=torch.bool).reshape(1, -1)
    return Targets(rows, ~doubt, doubt)


def row_of_cells(boxes: list[tuple[float, float, float, float]], logits: list[float], stride: int = 10) -> Predictions:
    """One image whose cells stand side by side."""
    count = len(boxes)
    centres = torch.tensor([[stride * (k + 0.5), stride / 2] for k in range(count)])
    return Predictions(
        torch.tensor([boxes], dtype=torch.float32, requires_grad=True),
        torch.tensor([logits], requires_grad=True),
        centres,
        torch.full((count,), float(stride)),
    )


def test_iou_and_giou_by_hand() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]])
    generalised, iou = giou(a, b)
    assert iou.tolist() == pytest.approx([1, 1 / 3, 0])
    # Enclosing boxes: 100, 150, 300; unions: 100, 150, 200.
    assert generalised.tolist() == pytest.approx([1, 1 / 3, -1 / 3])
    assert pairwise_iou(a[:1], b)[0].tolist() == pytest.approx([1, 1 / 3, 0])


def test_maps_decode_as_the_detector_decodes_rows() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(1, 5, 64 // stride, 96 // stride) for stride in STRIDES]
    found = decode_maps(maps, STRIDES)
    boxes, scores = yolox.decode(to_rows(maps)[0].numpy(), *yolox.cell_grid((96, 64), STRIDES), person_class=0)
    np.testing.assert_allclose(found.boxes[0].numpy(), boxes, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.logits[0].sigmoid().numpy(), scores, rtol=1e-5)
    assert found.centres[0].tolist() == [4, 4]
    assert found.centres[-1].tolist() == [80, 48]


def test_a_person_gets_as_many_cells_as_its_best_ious_sum_to() -> None:
    # IoUs with the person (0..40): 1, 0.75, 0.5, 0 → 2 cells, the two best.
    found = row_of_cells([(0, 0, 40, 10), (0, 0, 30, 10), (0, 0, 20, 10), (90, 0, 95, 10)], [0.0] * 4)
    owner, _ = assign(found, targets((0, 0, 40, 10)))
    assert owner.tolist() == [[0, 0, -1, -1]]


def test_a_cell_that_two_people_want_goes_to_the_one_it_fits_better() -> None:
    found = row_of_cells([(0, 0, 20, 10), (2, 0, 22, 10), (8, 0, 28, 10)], [0.0] * 3)
    owner, _ = assign(found, targets((0, 0, 20, 10), (8, 0, 28, 10)))
    assert owner[0, 0] == 0
    assert owner[0, 2] == 1
    assert owner[0, 1] in (-1, 0)  # IoU 0.82 with the first person, 0.54 with the second


def test_cells_far_from_a_person_never_answer_for_them() -> None:
    found = row_of_cells([(0, 0, 20, 10)] * 6, [0.0] * 6)  # all predict the box perfectly
    owner, _ = assign(found, targets((0, 0, 20, 10)))
    # Centres 5, 15, 25 are inside or within 2.5 strides (25 px) of the middle at 10; 35 is exactly at the limit.
    assert (owner[0, 3:] == -1).all()
    assert (owner[0, :2] == 0).all()


def test_nothing_is_asked_of_cells_in_a_doubtful_box() -> None:
    found = row_of_cells([(0, 0, 10, 10)] * 4, [2.0] * 4)
    where = targets((10, 0, 30, 10), doubtful=(0,))
    owner, excused = assign(found, where)
    assert owner.tolist() == [[-1] * 4]
    assert excused.tolist() == [[False, True, True, False]]
    score, box = detector_loss(found, where)
    p = 1 / (1 + math.exp(-2))
    assert score.item() == pytest.approx(2 * -math.log(1 - p) * p * p, rel=1e-5)  # two cells of background
    assert box.item() == 0
    score.backward()
    assert found.logits.grad is not None
    assert found.logits.grad[0, 1:3].tolist() == [0, 0]


def test_losses_by_hand() -> None:
    found = row_of_cells([(0, 0, 20, 10), (90, 0, 99, 10)], [0.0, -20.0])
    score, box = detector_loss(found, targets((0, 0, 10, 10)))
    # One cell answers, with IoU 0.5 = its score: nothing to gain for the score; GIoU is 0.5 as the boxes are nested.
    assert score.item() == pytest.approx(0, abs=1e-6)
    assert box.item() == pytest.approx(BOX_WEIGHT * 0.5, rel=1e-5)


def test_wishes_are_a_mixture_of_the_labels_and_the_teachers() -> None:
    # Cell 0 answers for the label with IoU 0.5. The teacher says 0.8 there, 0.6 in cell 1, 0.1 in cell 2.
    found = row_of_cells([(0, 0, 20, 10), (50, 0, 60, 10), (90, 0, 99, 10)], [0.0, 0.0, 0.0])
    boxes = torch.tensor([[[0.0, 0, 20, 10], [50, 0, 70, 10], [0, 0, 1, 1]]])
    taught = Taught(boxes, torch.tensor([[0.8, 0.6, 0.1]]))
    score, box = detector_loss(found, targets((0, 0, 10, 10)), taught, teacher_share=0.6)
    answering = 0.4 * 1 + 0.6 * (0.8 + 0.6)
    # Wishes: 0.4 · 0.5 + 0.6 · 0.8 = 0.68, 0.36, 0.06. Cross-entropy at logit 0 is ln 2, weighted with (wish - 0.5)².
    assert score.item() == pytest.approx(math.log(2) * (0.18**2 + 0.14**2 + 0.44**2) / answering, rel=1e-5)
    # The label's box in cell 0 (GIoU 0.5), the teacher's there (1) and in cell 1 (0.5), as much as it is sure.
    assert box.item() == pytest.approx(BOX_WEIGHT * (0.4 * 0.5 + 0.6 * 0.6 * 0.5) / answering, rel=1e-5)


def test_in_doubtful_boxes_the_teacher_alone_is_asked() -> None:
    found = row_of_cells([(0, 0, 10, 10), (10, 0, 20, 10)], [0.0, 0.0])
    taught = Taught(torch.zeros(1, 2, 4), torch.tensor([[0.2, 0.2]]))
    score, _ = detector_loss(found, targets((0, 0, 10, 10), doubtful=(0,)), taught, teacher_share=0.5)
    # Cell 0 lies in the doubtful box: 0.2 is wished; of cell 1 half of it.
    assert score.item() == pytest.approx(math.log(2) * (0.3**2 + 0.4**2), rel=1e-5)  # fewer than one cell answers


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_all_or_nothing_leaves_one_of_both(share: float) -> None:
    found = row_of_cells([(0, 0, 20, 10), (50, 0, 60, 10)], [0.3, -0.4])
    label, boxes = targets((0, 0, 10, 10)), torch.tensor([[[0.0, 0, 12, 10], [50, 0, 70, 10]]])
    mixed = detector_loss(found, label, Taught(boxes, torch.tensor([[0.9, 0.5]])), share)
    if share == 0:
        expected = detector_loss(found, label)
        assert [v.item() for v in mixed] == pytest.approx([v.item() for v in expected])
    else:
        generalised, _ = giou(found.boxes[0], boxes[0])
        wish = torch.tensor([0.9, 0.5])
        assert mixed[1].item() == pytest.approx(BOX_WEIGHT * (wish * (1 - generalised)).sum().item() / 1.4, rel=1e-5)


@pytest.mark.parametrize("empty", [targets(), targets((0, 0, 0, 0), doubtful=())])
def test_images_without_people_teach_background(empty: Targets) -> None:
    none = Targets(empty.boxes, torch.zeros_like(empty.people), empty.doubtful)
    found = row_of_cells([(0, 0, 10, 10)] * 3, [0.0] * 3)
    score, box = detector_loss(found, none)
    assert score.item() == pytest.approx(3 * math.log(2) * 0.25, rel=1e-5)
    assert box.item() == 0


def test_losses_fall_when_predictions_approach_the_person() -> None:
    def losses(logit: float, right: float) -> Tensor:
        found = row_of_cells([(0, 0, right, 10), (90, 0, 99, 10)], [logit, -6.0])
        return torch.stack(detector_loss(found, targets((0, 0, 20, 10))))

    assert (losses(3.0, 20) < losses(-3.0, 12)).all()
