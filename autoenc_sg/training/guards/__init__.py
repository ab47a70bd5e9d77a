"""What keeps a run from harm: checks of steps and weights, one process to a folder, signals."""
