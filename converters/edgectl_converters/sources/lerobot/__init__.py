"""LeRobot policy directories: what they say about themselves, and their export by LeRobot in its toolchain."""
