"""Training of the matcher: data, augmentation, loop, export, and the commands that start it."""
