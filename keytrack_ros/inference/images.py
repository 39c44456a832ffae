"""Networks that eat images: opening them, and images → network input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keytrack_ros.errors import ModelError
from keytrack_ros.inference.cards import DetectorCard, ImageInput, PoseCard
from keytrack_ros.inference.session import OnnxSession, Session
from keytrack_ros.poses import FloatArray, ImageArray


def open_image_network(card: DetectorCard | PoseCard, threads: int) -> Session:
    """The card's network, loaded.

    Raises ModelError if it cannot be loaded or has other inputs than the one that the card names.
    """
    session = OnnxSession(card.path, threads)
    width, height = card.input.size
    shape = session.input_shapes.get(card.input.name, ())
    if (
        len(session.input_shapes) != 1
        or len(shape) != 4
        or any(have not in (None, want) for have, want in zip(shape[1:], (3, height, width), strict=True))
    ):
        raise ModelError(
            f"{card.path}: inputs are {dict(session.input_shapes)}, but the model file of {card.name} names "
            f"'{card.input.name}' with [N, 3, {height}, {width}]"
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
