"""The wire protocol of the agent, by version."""
