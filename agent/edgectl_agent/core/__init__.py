"""The agent's own work: store, state machine, workers. No numpy, no runtime."""
