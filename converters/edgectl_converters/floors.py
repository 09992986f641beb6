"""What each component of a policy takes at least, in a scheme, on a board: its counted work against the figures of the
board, or against rates that were measured on the machine itself.

The work is counted from the exported graphs, so that it is known from the first export of a checkpoint on: a step of
its own in the cache, which depends on the checkpoint alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgectl_converters.assignment import Assignment
from edgectl_converters.card import CheckpointCard
from edgectl_converters.steps import StepCache, key_of
from edgectl_profiles.schema import BoardProfile, Unit
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.roofline import Ceiling, Floor, Work, floor_of

__all__ = ["ComponentFloor", "Counted", "CountedComponent", "board_ceiling", "counted_work", "floors_of", "work_key"]

_TERA, _GIGA = 1e12, 1e9


@dataclass(frozen=True, slots=True)
class CountedComponent:
    """A component, how often one inference runs it (0: that depends on its input), and its work in one call; None
    where the form that it was exported in does not show it.
    """

    name: str
    calls: int
    work: Work | None


@dataclass(frozen=True, slots=True)
class Counted:
    """The components of a checkpoint."""

    components: tuple[CountedComponent, ...]


@dataclass(frozen=True, slots=True)
class ComponentFloor:
    """A component with its floor in one call; None where its work, or what limits it, is not known."""

    component: CountedComponent
    floor: Floor | None

    @property
    def inference_s(self) -> float | None:
        """The floor of all its calls in one inference."""
        return self.floor.seconds * self.component.calls if self.floor and self.component.calls else None


def work_key(card: CheckpointCard) -> str:
    """The key of the step that holds a checkpoint's counted work."""
    return key_of(step="work", checkpoint=str(card.digest), declared=to_document(card.declared))


def counted_work(card: CheckpointCard, steps: StepCache) -> Counted | None:
    """The counted work; None before the first export."""
    found = steps.find(work_key(card), Counted)
    return found.report if found else None


def board_ceiling(profile: BoardProfile, unit: Unit) -> Ceiling:
    """What the makers' documents say that a unit of the board cannot exceed."""
    rates = {precision: peak * _TERA for precision, peak in profile.peaks.get(unit, {}).items()}
    return Ceiling(rates, profile.memory_gb_per_s * _GIGA)


def floors_of(
    counted: Counted | None,
    assignment: Assignment,
    profile: BoardProfile,
    measured: Mapping[Unit, Ceiling] | None = None,
) -> tuple[ComponentFloor, ...]:
    """The floor of each component on a board, by `measured` rates of the units that have some; empty where nothing was
    counted yet.
    """
    floors = []
    for component in counted.components if counted else ():
        entry = profile.runtime(assignment.runtime.of(component.name))
        unit: Unit = entry.unit if entry else "cpu"
        ceiling = (measured or {}).get(unit) or board_ceiling(profile, unit)
        work = component.work
        floors.append(
            ComponentFloor(component, floor_of(work, assignment.scheme.of(component.name), ceiling) if work else None)
        )
    return tuple(floors)
