"""Long calls in pieces, where a backend or the device's memory limits the rows of one call."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from keytrack_ros.inference.session import Array, DeviceMemoryError, Session

logger = logging.getLogger(__name__)


class ChunkedSession:
    """Runs a network with at most `max_rows` rows per call, and with fewer once the device ran out of memory.

    Rows are along the first axis, which all inputs and outputs share. Where that axis is fixed, or its length differs
    between inputs, the call is passed on unchanged.

    Args:
        session: runs the pieces; closed with this one.
        max_rows: rows in one call; None = no limit.
    """

    def __init__(self, session: Session, max_rows: int | None = None) -> None:
        self._session = session
        self._max_rows = max_rows

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
    def max_rows(self) -> int | None:
        """Rows in one call, as of now."""
        return self._max_rows

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name. Raises DeviceMemoryError if a single row does not fit into the memory."""
        free = all(shape[:1] == (None,) for shape in self._session.input_shapes.values())
        lengths = {len(array) for array in inputs.values()} if free else {1}
        rows = lengths.pop() if len(lengths) == 1 else 1
        parts: list[dict[str, Array]] = []
        begin = 0
        while begin < rows or not parts:
            step = max(1, min(self._max_rows or rows, rows - begin))
            piece = {name: array[begin : begin + step] if rows > step else array for name, array in inputs.items()}
            try:
                parts.append(self._session.run(piece))
            except DeviceMemoryError as error:
                if step <= 1:
                    raise DeviceMemoryError(
                        f"{error}; not enough memory for a single row: stop other processes on the GPU, "
                        "take a smaller network, or set inference.device to cpu"
                    ) from None
                self._max_rows = step // 2
                logger.warning("%s; from now on at most %d at a time", error, self._max_rows)
                continue
            begin += step
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def close(self) -> None:
        self._session.close()
