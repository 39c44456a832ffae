"""What all trainings share: loop, checkpoints, optimisers, export."""
