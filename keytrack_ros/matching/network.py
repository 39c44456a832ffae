"""Pose Entailment (KeyTrack, §3.2): a BERT of 473,218 parameters that says whether two poses are one person.

    token     = position + type + segment                                  Eq. 1-3, then LayerNorm and dropout
    layer     = self-attention and feed-forward, each with residual and LayerNorm (post-norm, as in BERT)
    verdict   = classifier(tanh(pooler(token 0)))

Needs torch. `keytrack_ros.matching.tokens` makes its tokens, `keytrack_ros.matching.entailment` runs it once exported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from keytrack_ros import skeleton
from keytrack_ros.matching.tokens import EMBEDDINGS, GRID, MEMORY_FRAMES, segment_rows

MASKED = -1e4
"""Added to the attention score of a masked key: its weight is 0 beside any unmasked key, and never 0/0 without one."""


@dataclass(frozen=True)
class TransformerOptions:
    """Size of a transformer; the defaults are the paper's (A.3, table 7).

    Attributes:
        width: H, of every token.
        layers, heads: number of layers, and of attention heads in each.
        intermediate: width between the two matrices of the feed-forward part.
        dropout: of tokens, attention weights and both parts of each layer, while training.
    """

    width: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 128
    dropout: float = 0.1


@dataclass(frozen=True)
class NetworkOptions(TransformerOptions):
    """Size and input of Pose Entailment; the defaults are the paper's, δ = 4.

    Attributes:
        grid: columns and rows of the position tokens.
        memory_frames: δ, the largest gap between the two poses.
        segments: `distinct` or `paper`, see `tokens.segment_rows`.
        embeddings: what a token is the sum of, among `tokens.EMBEDDINGS`.
    """

    grid: tuple[int, int] = GRID
    memory_frames: int = MEMORY_FRAMES
    segments: str = "distinct"
    embeddings: tuple[str, ...] = EMBEDDINGS[:3]


class Embedding(nn.Module):
    """Sum of the tables, normalised: [N, T] each → [N, T, H]. The paper's three are positions, types and segments."""

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        columns, rows = options.grid
        sizes = {
            "position": columns * rows,
            "type": skeleton.COUNT,
            "segment": segment_rows(options.memory_frames, options.segments),
            "relative": columns * rows,
        }
        self.positions, self.types, self.segments, self.relative = (
            nn.Embedding(size, options.width) if name in options.embeddings else None for name, size in sizes.items()
        )
        self.norm = nn.LayerNorm(options.width)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, positions: Tensor, types: Tensor, segments: Tensor, relative: Tensor | None) -> Tensor:
        tables = (self.positions, self.types, self.segments, self.relative)
        rows = (positions, types, segments, relative)
        tokens = reduce(add, (table(row) for table, row in zip(tables, rows, strict=True) if table is not None))
        normalised: Tensor = self.dropout(self.norm(tokens))
        return normalised


class SelfAttention(nn.Module):
    """Multi-head attention of some tokens (`asking`) over all of them, with output projection."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.heads, self.head_width = options.heads, options.width // options.heads
        self.query = nn.Linear(options.width, options.width)
        self.key = nn.Linear(options.width, options.width)
        self.value = nn.Linear(options.width, options.width)
        self.output = nn.Linear(options.width, options.width)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, asking: Tensor, tokens: Tensor, bias: Tensor) -> Tensor:
        """`asking` [N, A, H], `tokens` [N, T, H], `bias` [N, 1, 1, T] added to the scores → [N, A, H]."""
        if asking.shape[1] == 1 and not self.training:
            return self._of_one(asking, tokens, bias)
        query = self._split(self.query(asking))  # [N, heads, A, H / heads]
        key, value = self._split(self.key(tokens)), self._split(self.value(tokens))
        scores = query @ key.transpose(-2, -1) / math.sqrt(self.head_width) + bias  # [N, heads, A, T]
        mixed = self.dropout(scores.softmax(-1)) @ value
        count, asked, _ = asking.shape  # sizes are spelt out, since ONNX cannot infer one if there are no pairs
        joined: Tensor = self.output(mixed.transpose(1, 2).reshape(count, asked, self.heads * self.head_width))
        return joined

    def _of_one(self, asking: Tensor, tokens: Tensor, bias: Tensor) -> Tensor:
        """The same for one asking token, without keys and values of all the others.

        q · (K x + b) = (q K) · x + q · b, and softmax does not see what is added to all scores alike; the weighted mean
        of V x is V of the weighted mean of x.
        """
        heads = (self.heads, self.head_width, -1)
        query = self.query(asking).view(-1, self.heads, self.head_width) / math.sqrt(self.head_width)
        seen = (query.transpose(0, 1) @ self.key.weight.view(heads)).transpose(0, 1)  # [N, heads, H]
        scores = seen @ tokens.transpose(1, 2) + bias[:, 0]  # [N, heads, T]
        mean = (scores.softmax(-1) @ tokens).transpose(0, 1)  # [heads, N, H]
        mixed = (mean @ self.value.weight.view(heads).transpose(1, 2)).transpose(0, 1)  # [N, heads, H / heads]
        joined: Tensor = self.output(mixed.reshape(asking.shape) + self.value.bias)
        return joined

    def _split(self, tokens: Tensor) -> Tensor:
        count, length, _ = tokens.shape
        return tokens.reshape(count, length, self.heads, self.head_width).transpose(1, 2)


class Layer(nn.Module):
    """One layer of BERT; returns new values of the tokens in `asking` only."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.attention = SelfAttention(options)
        self.attention_norm = nn.LayerNorm(options.width)
        self.widen = nn.Linear(options.width, options.intermediate)
        self.narrow = nn.Linear(options.intermediate, options.width)
        self.output_norm = nn.LayerNorm(options.width)
        self.dropout = nn.Dropout(options.dropout)
        self.gelu = nn.GELU()

    def forward(self, asking: Tensor, tokens: Tensor, bias: Tensor) -> Tensor:
        asking = self.attention_norm(asking + self.dropout(self.attention(asking, tokens, bias)))
        done: Tensor = self.output_norm(asking + self.dropout(self.narrow(self.gelu(self.widen(asking)))))
        return done


class EntailmentNetwork(nn.Module):
    """Two poses, 15 tokens each, the current one first → logits of "two people" and "one person".

    Weights start from N(0, 0.02), biases from 0 (A.4).
    """

    def __init__(self, options: NetworkOptions | None = None) -> None:
        super().__init__()
        self.options = options = options or NetworkOptions()
        self.embedding = Embedding(options)
        self.layers = nn.ModuleList(Layer(options) for _ in range(options.layers))
        self.pooler = nn.Linear(options.width, options.width)
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(options.width, 2)
        self.apply(_initialise)

    def forward(
        self, positions: Tensor, types: Tensor, segments: Tensor, mask: Tensor, relative: Tensor | None = None
    ) -> Tensor:
        """Logits of N pairs; column 1 is "one person".

        Args:
            positions: [N, 30] int64, cell of the grid.
            types: [N, 30] int64, keypoint 0..14.
            segments: [N, 30] int64, row of the segment table.
            mask: [N, 30] bool, True where the keypoint is present. Masked tokens are not attended to, but token 0 is
                read even if it is masked. A pair without any unmasked token attends to all alike: finite, and
                without meaning.
            relative: [N, 30] int64, cell of the grid over the pose; only for a network that has this embedding.

        Returns:
            [N, 2] float32.
        """
        bias = torch.where(mask, 0.0, MASKED)[:, None, None, :]  # [N, 1, 1, 30]
        tokens = self.embedding(positions, types, segments, relative)
        for layer in self.layers[:-1]:
            tokens = layer(tokens, tokens, bias)
        first = self.layers[-1](tokens[:, :1], tokens, bias)[:, 0]  # the pooler reads no other token
        logits: Tensor = self.classifier(self.dropout(torch.tanh(self.pooler(first))))
        return logits


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
