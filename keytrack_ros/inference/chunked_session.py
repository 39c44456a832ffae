"""Networks run in pieces, where a backend or the device's memory takes only so many rows at a time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from keytrack_ros.inference.session import Array, DeviceMemoryError, Session

logger = logging.getLogger(__name__)


class SplitSession:
    """Runs a network with at most `most` rows at a time, and with fewer once the device's memory was too small.

    Rows are those of the first axis, which all inputs and outputs share. Where that axis is fixed, or the inputs have
    first axes of different lengths, the call goes through as it is.

    Args:
        session: runs the pieces; closed with this one.
        most: rows in one call; None = as many as there are.
    """

    def __init__(self, session: Session, most: int | None = None) -> None:
        self._session = session
        self._most = most

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        return self._session.input_shapes

    @property
    def output_names(self) -> Sequence[str]:
        return self._session.output_names

    @property
    def runs_on(self) -> str:
        return self._session.runs_on

    @property
    def most(self) -> int | None:
        """Rows in one call, as of now."""
        return self._most

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name. Raises DeviceMemoryError if not even one row finds memory."""
        free = all(shape[:1] == (None,) for shape in self._session.input_shapes.values())
        lengths = {len(array) for array in inputs.values()} if free else {1}
        rows = lengths.pop() if len(lengths) == 1 else 1
        parts: list[dict[str, Array]] = []
        begin = 0
        while begin < rows or not parts:
            step = max(1, min(self._most or rows, rows - begin))
            piece = {name: array[begin : begin + step] if rows > step else array for name, array in inputs.items()}
            try:
                parts.append(self._session.run(piece))
            except DeviceMemoryError as error:
                if step <= 1:
                    raise DeviceMemoryError(
                        f"{error}; memory is too small even for one at a time: end what else uses the GPU, "
                        "take a smaller network, or set inference.device to cpu"
                    ) from None
                self._most = step // 2
                logger.warning("%s; from now on at most %d at a time", error, self._most)
                continue
            begin += step
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def close(self) -> None:
        self._session.close()
