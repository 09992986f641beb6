"""Named devices, selectors, and the rollout plan as data."""
