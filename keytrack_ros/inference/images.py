"""Networks with image input: opening them, and images → network input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import DetectorCard, ImageInput, PoseCard
from keytrack_ros.inference.int8 import cpu_network
from keytrack_ros.inference.opening import open_session
from keytrack_ros.inference.options import InferenceOptions
from keytrack_ros.inference.session import Session
from keytrack_ros.inference.torch_session import TorchLoader, TorchNetwork
from keytrack_ros.poses import FloatArray, ImageArray


def open_image_network(
    card: DetectorCard | PoseCard,
    options: InferenceOptions,
    max_images: int = 1,
    torch_network: TorchLoader | None = None,
) -> Session:
    """The card's network, on the backend that the options allow; see `open_session`.

    Args:
        card: of the network.
        options: how it runs.
        max_images: images in one call.
        torch_network: loads the network in torch, for the backend of that name.

    Raises ModelError if it cannot be loaded or its inputs are not those of the card.
    """
    width, height = card.input.size
    in_torch = None
    if torch_network is not None:
        in_torch = TorchNetwork(torch_network, {card.input.name: (3, height, width)}, card.output)
    sizes = card.input_sizes if isinstance(card, DetectorCard) else None
    session = open_session(card.path, options, max_images, in_torch, cpu_network(card, options), sizes)
    shape = session.input_shapes.get(card.input.name, ())
    wanted: tuple[int | None, ...] = (3, None, None) if card.input.free_size else (3, height, width)
    if (
        len(session.input_shapes) != 1
        or len(shape) != 4
        or any(have not in (None, want) for have, want in zip(shape[1:], wanted, strict=True))
    ):
        found = dict(session.input_shapes)
        session.close()
        sides = ", ".join("any" if side is None else str(side) for side in wanted)
        raise ModelError(
            f"{card.path}: inputs are {found}, but the model file of {card.name} names '{card.input.name}' with "
            f"[N, {sides}]"
        )
    return session


def network_input(images_bgr: Sequence[ImageArray], about: ImageInput) -> FloatArray:
    """N images of the network's size, [height, width, 3] uint8 BGR, as [N, 3, height, width] float32.

    Channels in the order and with the mean and standard deviation that the model file names.
    """
    batch = np.stack(images_bgr).transpose(0, 3, 1, 2)  # [N, 3, h, w]
    if about.color == "rgb":
        batch = batch[:, ::-1]
    mean = np.array(about.mean, np.float32)[:, None, None]
    gain = 1 / np.array(about.std, np.float32)[:, None, None]
    result: FloatArray = np.subtract(batch, mean, dtype=np.float32, order="C")
    result *= gain
    return result
