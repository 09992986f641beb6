"""Runs: measurements of loops, each an operation that outlives the call that asked for it."""
