"""The edgectl command."""
