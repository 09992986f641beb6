"""The device itself: facts, what changes, which runtimes it has, who occupies it."""
