"""How the cart moves: along x in its lane, at a speed that it keeps changing its mind about.

Owns the cart's position and velocity. A new wanted velocity is drawn every 0.4 to 1.0 s and the acceleration
is bounded, so the next second can be guessed but never known. A driver may `steer` it instead.
"""

import numpy as np

LANE_HALF_WIDTH_M = 0.14
TRACK_HALF_LENGTH_M = 0.20
# At full speed and 1 m/s2 the cart needs 16 mm to stop, so it turns that much before the end of the track.
_TURN_AT_M = 0.18
_SPEED_RANGE_M_S = (0.05, 0.18)
_REDRAW_RANGE_S = (0.4, 1.0)
_ACCELERATION_LIMIT_M_S2 = 1.0


class Cart:
    """A cart on a straight track, moved in small steps of time by its owner."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.y_m = float(rng.uniform(-LANE_HALF_WIDTH_M, LANE_HALF_WIDTH_M))
        self.x_m = float(rng.uniform(-_TURN_AT_M, _TURN_AT_M))
        self._steered = False
        self._draw()
        self.velocity_m_s = self._wanted_m_s

    def steer(self, velocity_m_s: float) -> None:
        """Take over: from now on the cart wants this velocity and draws no other."""
        self._steered = True
        self._wanted_m_s = velocity_m_s

    def advance(self, step_s: float) -> None:
        """Move by `step_s` seconds."""
        if not self._steered:
            self._until_redraw_s -= step_s
            if self._until_redraw_s <= 0.0:
                self._draw()
            if abs(self.x_m) > _TURN_AT_M and self.x_m * self._wanted_m_s > 0.0:
                self._wanted_m_s = -self._wanted_m_s
        change_limit = _ACCELERATION_LIMIT_M_S2 * step_s
        change = self._wanted_m_s - self.velocity_m_s
        self.velocity_m_s += min(max(change, -change_limit), change_limit)
        self.x_m += self.velocity_m_s * step_s

    def _draw(self) -> None:
        self._wanted_m_s = float(self._rng.uniform(*_SPEED_RANGE_M_S) * self._rng.choice([-1.0, 1.0]))
        self._until_redraw_s = float(self._rng.uniform(*_REDRAW_RANGE_S))
