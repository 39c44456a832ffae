"""`keytrack track --explain`: why every pose got its id, as JSON, and as a picture of one frame."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import cv2

from keytrack_ros.errors import OptionError, OutputError
from keytrack_ros.explanation import explain
from keytrack_ros.media.explanation_drawing import draw_explanation
from keytrack_ros.media.explanation_writer import ExplanationWriter
from keytrack_ros.media.files import require_free
from keytrack_ros.media.frames import Frame, Selection
from keytrack_ros.tracker.tracker import Comparison

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExplainRequest:
    """Where reasons go.

    Attributes:
        path: the JSON file.
        frame: number of the frame that is drawn; its picture has the name of `path` with .png.

    Raises OptionError for a name that does not end in .json.
    """

    path: Path
    frame: int | None = None

    def __post_init__(self) -> None:
        if self.path.suffix != ".json":
            raise OptionError(f"--explain {self.path}: a name that ends in .json is needed")

    @property
    def picture(self) -> Path:
        return self.path.with_suffix(".png")

    @property
    def files(self) -> dict[str, Path]:
        """What will be written."""
        return {"explanation": self.path} | ({} if self.frame is None else {"explained frame": self.picture})

    def check(self, selection: Selection, total: int | None, *, overwrite: bool) -> None:
        """Raises OptionError if the frame will not be among those tracked, OutputError if a file is there already."""
        for path in self.files.values():
            require_free(path, overwrite=overwrite)
        if self.frame is None:
            return
        place = (self.frame - selection.start) // selection.every
        count = selection.count(total)
        if not selection.wants(self.frame) or (count is not None and place >= count):
            raise OptionError(
                f"--explain-frame {self.frame}: is not among the frames that are tracked: from {selection.start} on, "
                f"every {selection.every}, {'all' if count is None else count} of them"
            )


class Explanations:
    """The files; closing completes them.

    Args:
        request: which.
        threshold: `TrackerOptions.match_threshold`.
        overwrite: replace files that are already there.

    Raises OutputError if a file cannot be written.
    """

    def __init__(self, request: ExplainRequest, threshold: float, *, overwrite: bool = False) -> None:
        self._request = request
        self._threshold = threshold
        self._drawn = request.frame is None
        request.path.parent.mkdir(parents=True, exist_ok=True)
        for path in request.files.values():  # what is left of an earlier run would not be of this one
            path.unlink(missing_ok=True)
        self._writer = ExplanationWriter(request.path, overwrite=overwrite)

    def write(self, frame: Frame, comparison: Comparison) -> None:
        """Explains one frame, tentative tracks included."""
        poses = comparison.tracked
        explanation = explain(comparison, poses, self._threshold)
        self._writer.write(frame.index, frame.stamp_s, explanation)
        if frame.index == self._request.frame:
            picture = draw_explanation(frame.image_bgr, poses, explanation)
            if not cv2.imwrite(str(self._request.picture), picture):
                raise OutputError(f"{self._request.picture}: cannot be written")
            self._drawn = True

    def __enter__(self) -> Explanations:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        if not self._drawn:
            logger.warning("frame %d was not read, so it is not drawn", self._request.frame)
