"""What a machine did besides the loop while it was measured, and when that makes a run no evidence of the loop."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Disturbance", "Interference"]


@dataclass(frozen=True, slots=True)
class Interference:
    """What the machine did besides the loop while it was measured; None where the kernel does not tell.

    `waited_share`: of the time in which a thread of the worker had something to run, it got no CPU; of the thread that
    waited most. `pressure_share`: of the wall time, some task of the machine waited for a CPU. `stolen_cpus`,
    `others_cpus`: how many CPUs the hypervisor and other processes used on average. `involuntary_switches` of the
    worker. `clock_*_hz`: of the fastest core. `throttle_events`: thermal, all cores. `suspended_s`: the machine slept.
    `clock_step_s`: the wall clock against the monotonic one.
    """

    waited_share: float | None = None
    pressure_share: float | None = None
    stolen_cpus: float | None = None
    others_cpus: float | None = None
    involuntary_switches: int | None = None
    clock_start_hz: float | None = None
    clock_end_hz: float | None = None
    clock_min_hz: float | None = None
    throttle_events: int | None = None
    suspended_s: float | None = None
    clock_step_s: float | None = None

    @property
    def disturbances(self) -> tuple[Disturbance, ...]:
        """What makes the figures no evidence of the loop."""
        found = {
            # Without others, threads of the worker wait for each other, as they would on any day.
            Disturbance.BUSY: (
                _over(self.waited_share, _MAX_WAITED_SHARE) and _over(self.others_cpus, _MIN_OTHERS_CPUS)
            )
            or _over(self.stolen_cpus, _MAX_STOLEN_CPUS),
            Disturbance.THROTTLED: _over(self.throttle_events, 0),
            Disturbance.CLOCK_STEPPED: _over(abs(self.clock_step_s or 0.0), _MAX_CLOCK_STEP_S),
            Disturbance.SUSPENDED: _over(self.suspended_s, _MAX_SUSPENDED_S),
        }
        return tuple(disturbance for disturbance, there in found.items() if there)


class Disturbance(enum.Enum):
    """Why a run is no evidence, whatever its figures."""

    BUSY = "machine busy"
    THROTTLED = "throttled"
    CLOCK_STEPPED = "clock stepped"
    SUSPENDED = "machine slept"
    SIMULATED = "simulated"
    """The processor that a component is for is simulated."""


_MAX_WAITED_SHARE = 0.02
_MIN_OTHERS_CPUS = 0.05
_MAX_STOLEN_CPUS = 0.05
_MAX_CLOCK_STEP_S = 0.1
_MAX_SUSPENDED_S = 0.05


def _over(value: float | None, limit: float) -> bool:
    return value is not None and value > limit
