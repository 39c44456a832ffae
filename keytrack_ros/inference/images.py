"""Images → network input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keytrack_ros.inference.cards import ImageInput
from keytrack_ros.poses import FloatArray, ImageArray


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
