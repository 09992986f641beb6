"""Runtimes on the device, one file each."""
