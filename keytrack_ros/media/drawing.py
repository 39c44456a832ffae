"""What a person looks at: skeletons in one colour per identity, id labels, trails."""

from __future__ import annotations

import colorsys

_GOLDEN = 0.618033988749895
"""Multiples of the golden ratio modulo 1 keep apart however many there are."""


def identity_color(track_id: int) -> tuple[int, int, int]:
    """Blue, green, red (0..255) of an identity: the same in every frame and program, neighbours far apart in hue."""
    hue = (track_id * _GOLDEN) % 1.0
    # Three tones, so that ids whose hues come close again (8, 13, 21 apart) still differ.
    saturation, value = ((0.85, 1.0), (0.55, 1.0), (0.95, 0.8))[track_id % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(blue * 255), round(green * 255), round(red * 255)
