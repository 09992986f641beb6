"""Compression and graph passes between source and target, one file each."""
