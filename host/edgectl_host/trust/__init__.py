"""The fleet's authority and what it gives out; this host's own place in a fleet. See docs/trust.md."""
