"""The node `cameras`: a tracker for each of several cameras, in one process, with one set of networks for all.

Each tracker is a node of its own, `<camera>/tracker`, with the topics, services and parameters of `tracker_node`.
Parameters and remappings of the command line apply to all of them; a parameter file can set those of one.
"""

from __future__ import annotations

from collections.abc import Sequence

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import InvalidNamespaceException
from rclpy.node import Node
from rclpy.validate_namespace import validate_namespace

from keytrack_ros.errors import KeytrackError, OptionError
from keytrack_ros.nodes.runner import Ending, run
from keytrack_ros.nodes.tracker_node import TrackerNode
from keytrack_ros.pipeline.multi_camera import SharedNetworks

CAMERAS = "cameras"
"""The parameter with their names."""


class CamerasNode(Node):  # type: ignore[misc]
    """Creates the trackers and closes them.

    Raises:
        OptionError: the parameter does not name cameras.
    """

    def __init__(self, ending: Ending) -> None:
        super().__init__("cameras")
        self._ending = ending
        about = "names of the cameras; the tracker of each, with its topics, is in a namespace of that name"
        descriptor = ParameterDescriptor(name=CAMERAS, description=about, read_only=True, dynamic_typing=True)
        self._names = camera_names(self.declare_parameter(CAMERAS, "", descriptor).value)
        self._trackers: list[TrackerNode] = []

    def start(self) -> None:
        """Creates all trackers and starts those with autostart. Raises KeytrackError if one cannot be created."""
        networks = SharedNetworks(len(self._names))
        above = self.get_namespace().rstrip("/")
        for name in self._names:
            try:
                tracker = TrackerNode(self._ending, networks, f"{above}/{name}", foreign=[CAMERAS])
            except KeytrackError as error:
                raise OptionError(f"camera {name}: {error}") from None
            self._trackers.append(tracker)
            self.executor.add_node(tracker)
        for tracker in self._trackers:
            tracker.start()
            if self._ending.future.done():  # it has logged why it cannot start
                return

    def close(self) -> None:
        """Ends all trackers."""
        for tracker in self._trackers:
            tracker.close()
        for tracker in self._trackers:
            tracker.destroy_node()


def camera_names(value: object) -> list[str]:
    """The names that the parameter holds. Raises OptionError if it holds none, one twice, or what is no name."""
    example = "a list of names is needed, such as [front, rear]"
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(name, str) for name in value):
        raise OptionError(f"parameter {CAMERAS} is {value!r}; {example}")
    for name in value:
        try:
            validate_namespace(f"/above/{name}")
        except InvalidNamespaceException:
            raise OptionError(
                f"parameter {CAMERAS}: {name!r} is not a camera name; letters, digits and underscores are allowed, "
                "not beginning with a digit"
            ) from None
        if value.count(name) > 1:
            raise OptionError(f"parameter {CAMERAS}: {name!r} is listed twice")
    return list(value)


def main(args: Sequence[str] | None = None) -> int:
    return run("cameras", CamerasNode, args)
