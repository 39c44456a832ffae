"""Trains the rivals that are networks, on the pairs that Pose Entailment is trained on, for `keytrack compare`.

    python bench/rivals.py graph --data FOLDER --out graph.pt
    python bench/rivals.py cnn --data FOLDER --out cnn.pt
    keytrack compare FOLDER --method tracker --method graph,weights=graph.pt --method cnn,weights=cnn.pt

Both learn from balanced pairs of `PairSampler` with the same augmentation; the accuracy shown is that on pairs of
held-back videos, one half one person, the other half the nearest other person.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn

from keytrack_ros.matching.tokens import MEMORY_FRAMES
from keytrack_ros.poses import BoolArray, FloatArray
from keytrack_ros.research.graph import GraphNetwork, contrastive_loss, save_weights, shapes, similarity_of
from keytrack_ros.research.render import RenderNetwork, drawings
from keytrack_ros.training.matcher.pairs import Batch, PairSampler
from keytrack_ros.training.matcher.tracks import Tracks, held_back_videos, load_tracks, training_videos

app = typer.Typer(no_args_is_help=True, help=__doc__, rich_markup_mode=None)
Data = Annotated[Path, typer.Option(help="folder with pose tracks, .npz files")]
Out = Annotated[Path, typer.Option(help="file of the weights")]

_GRID = (4096, 4096)
"""Fine enough that a token's cell is the keypoint's place."""
_CHECKS = 20
"""Batches that the accuracy is measured on."""


def places(batch: Batch) -> tuple[list[FloatArray], list[BoolArray]]:
    """Of the current and the past poses: [N, 15, 2] places in frame widths and heights, and [N, 15] which are there."""
    columns, rows = _GRID
    y, x = np.divmod(batch.tokens.positions, columns)
    relative = (np.stack([x, y], -1) + 0.5) / (columns, rows)
    return np.split(relative, 2, axis=1), np.split(batch.tokens.mask, 2, axis=1)


def graph_loss(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Contrastive loss, and [N] scores."""
    (current, past), visible = places(batch)
    a, b = (
        network(torch.from_numpy(shapes(points, seen))) for points, seen in zip((current, past), visible, strict=True)
    )
    scores = similarity_of((a - b).detach().norm(dim=1).numpy())
    return contrastive_loss(a, b, torch.from_numpy(batch.labels).float()), torch.from_numpy(scores)


def render_loss(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy, and [N] scores."""
    pictures = [drawings(points, seen) for points, seen in zip(*places(batch), strict=True)]
    logits = network(torch.from_numpy(np.concatenate(pictures, 1)))
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(batch.labels))
    return loss, torch.softmax(logits.detach(), 1)[:, 1]


Loss = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]


def train(network: nn.Module, loss_of: Loss, data: Path, out: Path, steps: int, batch: int, rate: float) -> float:
    """Trains, writes the weights, and returns the accuracy on held-back videos."""
    sampler = PairSampler(load_tracks_of(data, held_back=False), MEMORY_FRAMES, "distinct", _GRID)
    optimiser = torch.optim.AdamW(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    began = time.monotonic()
    for step in range(1, steps + 1):
        pairs = sampler.batch(batch, rng)
        loss, scores = loss_of(network, pairs)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % max(steps // 10, 1) == 0:
            share = float(((scores.numpy() > 0.5) == (pairs.labels == 1)).mean())
            typer.echo(f"step {step}: loss {loss.item():.4f}, accuracy {share:.3f}, {time.monotonic() - began:.0f} s")
    save_weights(network.eval(), out)
    held_back = PairSampler(load_tracks_of(data, held_back=True), MEMORY_FRAMES, "distinct", _GRID)
    right = []
    with torch.inference_mode():
        for _ in range(_CHECKS):
            pairs = held_back.nearest_batch(batch, rng)
            _, scores = loss_of(network, pairs)
            right.append((scores.numpy() > 0.5) == (pairs.labels == 1))
    return float(np.mean(right))


def load_tracks_of(data: Path, held_back: bool) -> Tracks:
    """Tracks to learn from, or those of held-back videos."""
    tracks = load_tracks(data)
    return tracks.select(held_back_videos(tracks) if held_back else training_videos(tracks))


@app.command()
def graph(data: Data, out: Out, steps: int = 4000, batch: int = 256, rate: float = 3e-3, threads: int = 1) -> None:
    """LightTrack's graph network."""
    torch.set_num_threads(threads)
    accuracy = train(GraphNetwork(), graph_loss, data, out, steps, batch, rate)
    typer.echo(f"{out}: accuracy on held-back videos {accuracy:.3f}")


@app.command()
def cnn(data: Data, out: Out, steps: int = 2000, batch: int = 64, rate: float = 2e-3, threads: int = 1) -> None:
    """The CNN on drawn keypoints."""
    torch.set_num_threads(threads)
    accuracy = train(RenderNetwork(), render_loss, data, out, steps, batch, rate)
    typer.echo(f"{out}: accuracy on held-back videos {accuracy:.3f}")


if __name__ == "__main__":
    app()
