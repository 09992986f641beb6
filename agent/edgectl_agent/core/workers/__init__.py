"""Worker processes: which Python they run in, which release they hold."""
