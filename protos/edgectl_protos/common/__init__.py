"""Messages used by more than one service, by version."""
