"""The ROS 2 nodes, and what they share."""
