"""What edgectl knows about kinds of device, one file a board."""
