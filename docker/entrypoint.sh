#!/bin/bash
# Runs a command in the environment of ROS 2 and this workspace.
set -e
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ws/install/setup.bash
export PATH="/ws/install/keytrack_ros/bin:$PATH"
exec "$@"
