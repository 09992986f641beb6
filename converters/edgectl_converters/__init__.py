"""From a checkpoint to a bundle, on the host."""
