"""Tracked people as RViz markers: skeleton, keypoints and id of each, in one colour per identity.

Image keypoints have no depth. They are drawn in the plane z = 0 of the image's frame, x to the right and y downwards as
in the image, with the image's centre at the origin and METRES_PER_PIXEL metres to a pixel.
"""

from __future__ import annotations

from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from keytrack_ros import skeleton
from keytrack_ros.media.drawing import identity_color
from keytrack_ros.poses import Poses

METRES_PER_PIXEL = 0.005
"""A picture 768 pixels wide is 3.84 m wide in RViz."""

_LIMB_WIDTH_M = 0.015
_KEYPOINT_SIZE_M = 0.03
_TEXT_HEIGHT_M = 0.12


def to_markers(poses: Poses, header: Header, frame_size: tuple[int, int]) -> MarkerArray:
    """Three markers a person (namespaces `limbs`, `keypoints`, `ids`), after one that deletes those of the last frame.

    Args:
        poses: P people with ids; missing keypoints and the limbs that end in them are left out.
        header: of the image.
        frame_size: width and height of the image in pixels.
    """
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    for row in range(len(poses)):
        track_id = int(poses.track_ids[row])
        points = [_point(x, y, frame_size) for x, y in poses.keypoints[row].tolist()]
        visible = poses.visible[row]

        limbs = _marker(header, "limbs", track_id, Marker.LINE_LIST, Vector3(x=_LIMB_WIDTH_M))
        limbs.points = [points[end] for edge in skeleton.EDGES if visible[edge[0]] and visible[edge[1]] for end in edge]
        size = _KEYPOINT_SIZE_M
        dots = _marker(header, "keypoints", track_id, Marker.SPHERE_LIST, Vector3(x=size, y=size, z=size))
        dots.points = [point for point, present in zip(points, visible, strict=True) if present]

        label = _marker(header, "ids", track_id, Marker.TEXT_VIEW_FACING, Vector3(z=_TEXT_HEIGHT_M))
        x_min, y_min, x_max, _ = poses.boxes[row].tolist()
        label.pose.position = _point((x_min + x_max) / 2, y_min, frame_size)
        label.text = str(track_id)
        markers += [limbs, dots, label]
    return MarkerArray(markers=markers)


def _marker(header: Header, namespace: str, track_id: int, kind: int, scale: Vector3) -> Marker:
    blue, green, red = (channel / 255 for channel in identity_color(track_id))
    # RViz's ids are signed.
    marker = Marker(header=header, ns=namespace, id=track_id % 2**31, type=kind, action=Marker.ADD, scale=scale)
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
    marker.pose.orientation.w = 1.0
    return marker


def _point(x: float, y: float, frame_size: tuple[int, int]) -> Point:
    width, height = frame_size
    return Point(x=(x - width / 2) * METRES_PER_PIXEL, y=(y - height / 2) * METRES_PER_PIXEL, z=0.0)
