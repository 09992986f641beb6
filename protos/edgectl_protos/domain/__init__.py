"""The words of edgectl as frozen dataclasses: standard library only."""
