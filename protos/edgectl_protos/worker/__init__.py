"""The protocol of worker processes, which the agent and the host's gates both speak. Standard library only."""
