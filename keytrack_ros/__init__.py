"""People with identities for robots: 15 keypoints and a track id that stays (KeyTrack)."""

import pkgutil

# The generated keytrack_ros.msg is installed elsewhere than a source tree under test; both folders are this package.
__path__ = pkgutil.extend_path(__path__, __name__)

__version__ = "0.1.0"
