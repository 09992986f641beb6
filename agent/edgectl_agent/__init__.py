"""The daemon on a device, and the worker process that loads runtimes."""
