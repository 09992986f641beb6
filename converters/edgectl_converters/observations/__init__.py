"""Raw observations for golden cases and calibration: recorded where there is footage, else synthetic."""

from edgectl_converters.observations.draw import Observations, Origin, coinciding, observe, origins_of, words_for
from edgectl_converters.observations.footage import (
    check_footage,
    find_footage,
    instruction,
    match_footage,
)
from edgectl_converters.observations.synthetic import Range, Spread, is_frame

__all__ = [
    "Observations",
    "Origin",
    "Range",
    "Spread",
    "check_footage",
    "coinciding",
    "find_footage",
    "instruction",
    "is_frame",
    "match_footage",
    "observe",
    "origins_of",
    "words_for",
]
