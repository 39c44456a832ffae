"""The ROS 2 nodes, and what they share. The only folder that imports rclpy."""
