"""From a trained HRNet to the files that a tracker loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from keytrack_ros import skeleton
from keytrack_ros.inference.cards import ImageInput, PoseCard, file_sha256, write_card
from keytrack_ros.training.common.export import NO_LICENCE, export_onnx
from keytrack_ros.training.pose.augment import MEAN, OFFSET, PADDING, STD
from keytrack_ros.training.pose.options import PoseTrainOptions

SOURCE = "keytrack train pose"


def export_pose(network: nn.Module, folder: Path, options: PoseTrainOptions, licence: str = NO_LICENCE) -> list[Path]:
    """Writes NAME.onnx, NAME.pt and NAME.yaml into `folder`; `w16_small` becomes hrnet_w16.

    Convolutions are stored once, in the ONNX file; NAME.pt has the batch normalisation that is folded into them there,
    see `keytrack_ros.estimation.checkpoints.completed`. All arithmetic is FP32.

    Raises ModelError if the graph computes something else than the network.
    """
    name = f"hrnet_{options.variant.removesuffix('_small')}"
    card = PoseCard(
        name=name,
        file=f"{name}.onnx",
        weights=f"{name}.pt",
        licence=licence,
        source=SOURCE,
        input=ImageInput("image", (options.width, options.height), "rgb", MEAN, STD),
        output="heatmaps",
        joints=skeleton.NAMES,
        padding=PADDING,
        decoder="quarter",
        offset=OFFSET,
        flip_shift=0,
    )
    file = folder / card.file
    shape = (3, options.height, options.width)
    export_onnx(network, file, card.input.name, shape, card.output, options.weight_bits)
    normalisation = {
        f"{name}.{key}": value
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for key, value in module.state_dict().items()
    }
    torch.save(normalisation, folder / card.weights)
    card_file = folder / f"{name}.yaml"
    write_card(replace(card, sha256=file_sha256(file)), card_file)
    return [file, folder / card.weights, card_file]
