"""Runtimes' artifacts, one file each, of the same name as the device's runtime."""
