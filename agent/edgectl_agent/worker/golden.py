"""The golden cases of a release, checked against its program, and how they are run.

Cases of a program that remembers are one sequence from a reset; otherwise each begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgectl_agent.worker.comparison import Expected, dimensions_of
from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.release import Array, Release
from edgectl_protos.domain.errors import BundleError, ShapeError
from edgectl_protos.domain.program import Ensemble, flat_steps

__all__ = ["GoldenCases", "read_golden"]


@dataclass(frozen=True, slots=True)
class GoldenCases:
    """Observations and noise by case, and what is expected of tensors of the program, case first."""

    observations: tuple[dict[str, Array], ...]
    noise: tuple[dict[str, Array], ...]
    expected: dict[str, Array]
    action: str
    sequence: bool

    def run(
        self,
        executor: Executor,
        *,
        begin: Callable[[int], None] = lambda case: None,
        end: Callable[[int], None] = lambda case: None,
        observations: tuple[dict[str, Array], ...] | None = None,
        backwards: bool = False,
    ) -> Array:
        """Run the cases on their own observations or on others, which may be fewer; the actions, case first.

        `begin` and `end` are told of each case.

        Raises:
            ShapeError: an observation has another shape than the policy takes.
            EdgectlError: what a step refuses.
        """
        given = self.observations if observations is None else observations
        order = range(len(given))
        actions: dict[int, Array] = {}
        executor.reset()
        for case in reversed(order) if backwards and not self.sequence else order:
            if not self.sequence:
                executor.reset()
            for name, value in given[case].items():
                executor.check(name, value)
            begin(case)
            actions[case] = executor.run(given[case], given=self.noise[case])
            end(case)
        executor.reset()
        return np.stack([actions[case] for case in order])

    def wanted(self, release: Release, contrasts: Mapping[str, Array]) -> Expected:
        """What the actions are compared with."""
        policy = release.manifest.policy
        actions = self.expected[self.action]
        shape = (len(actions), policy.chunk_size, -1)
        try:
            actions = actions.reshape(shape)
        except ValueError as exc:
            raise ShapeError(
                f"out.{self.action} of the golden cases is {list(actions.shape)}; the policy says "
                f"{policy.chunk_size} actions of {list(policy.action.shape)}"
            ) from exc
        return Expected(
            actions=actions,
            contrasts=contrasts,
            dimensions=dimensions_of(policy, actions.shape[2]),
            use=release.loop.execution.use,
            drawn=bool(release.manifest.program.noise),
            text=policy.is_text,
        )


def read_golden(release: Release) -> GoldenCases | None:
    """The cases; None when the release has none.

    Raises:
        BundleError: they do not fit the policy.
    """
    manifest = release.manifest
    golden, program = manifest.golden, manifest.program
    if golden is None:
        return None
    arrays = release.golden()
    features = [feature.name for feature in manifest.policy.observations]
    expected = {key[4:]: value for key, value in arrays.items() if key.startswith("out.")}
    # Noise that is drawn here is not that of the reference.
    missing = [name for name in (*features, *program.noise) if f"in.{name}" not in arrays]
    if missing or program.action not in expected:
        lacks = f"in.{missing[0]}" if missing else f"out.{program.action}"
        raise BundleError(f"{golden.path} has no {lacks}; it has: {', '.join(sorted(arrays)) or 'nothing'}")
    for key, value in arrays.items():
        if value.ndim == 0 or len(value) != golden.count:
            raise BundleError(f"{golden.path}: {key} has not the {golden.count} cases it should have")
        if value.dtype.kind not in ("fiub" if key.startswith("out.") else "fiubU"):
            raise BundleError(f"{golden.path}: {key} holds {value.dtype.name}, no numbers")
    if unknown := sorted(name for name in expected if program.tensor(name) is None and name not in features):
        raise BundleError(f"{golden.path} has out.{unknown[0]}, but the program has no such tensor")
    cases = range(golden.count)
    return GoldenCases(
        observations=tuple({name: np.asarray(arrays[f"in.{name}"][case]) for name in features} for case in cases),
        noise=tuple({name: arrays[f"in.{name}"][case] for name in program.noise} for case in cases),
        expected=expected,
        action=program.action,
        sequence=bool(program.states) or any(isinstance(step, Ensemble) for step, _ in flat_steps(program.steps)),
    )
