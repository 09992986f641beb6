"""The demonstrator: knows where the cart is, and where the next targets should be.

It has no memory: the targets follow from the tip's position and the cart's position and velocity alone. It
comes down a funnel over the pad, so an error in x or y raises the tip again and the press is retried without
any decision.
"""

import numpy as np
from cart import Cart
from sim import CONTACT_HEIGHT_M

# The tool trails its target by 40 ms and a tick lasts 33 ms: aim where the cart will be by then.
_LEAD_S = 0.075
_REACH_XY_M = 0.020
_REACH_Z_M = 0.012
_FUNNEL_SLOPE = 6.0
_FUNNEL_RADIUS_M = 0.010
_PRESS_DEPTH_M = 0.030
_HOVER_M = 0.060


def target_m(tip_m: np.ndarray, cart: Cart) -> np.ndarray:
    """The absolute joint targets for the next tick, float64 [3]."""
    aim_m = np.array([cart.x_m + cart.velocity_m_s * _LEAD_S, cart.y_m])
    offset_m = aim_m - tip_m[:2]
    distance_m = float(np.linalg.norm(offset_m))
    reach_m = offset_m * min(1.0, _REACH_XY_M / max(distance_m, 1e-9))
    # The funnel is around where the pad is, not around the lead point: it would never close on a fast cart.
    error_m = float(np.hypot(cart.x_m - tip_m[0], cart.y_m - tip_m[1]))
    lift_m = np.clip(_FUNNEL_SLOPE * (error_m - _FUNNEL_RADIUS_M), -_PRESS_DEPTH_M, _HOVER_M)
    rise_m = np.clip(CONTACT_HEIGHT_M + lift_m - tip_m[2], -_REACH_Z_M, _REACH_Z_M)
    return np.array([*(tip_m[:2] + reach_m), tip_m[2] + rise_m])
