"""How the host reaches agents."""
