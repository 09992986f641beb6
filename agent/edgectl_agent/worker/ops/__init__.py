"""What stages do to observations and actions."""
