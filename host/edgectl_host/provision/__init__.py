"""Putting an agent on a device and taking it away: what is asked, chosen, sent and run there."""
