"""The policy on the device: raw observation → graph inputs → graph outputs → actions.

The parity gate and the loop run this same code, so what was proved is what runs.
"""

from __future__ import annotations

import time

import numpy as np

from edgectl_agent.worker.ops.normalise import normaliser
from edgectl_agent.worker.ops.unnormalise import Unnormaliser
from edgectl_agent.worker.release import Array, Release
from edgectl_agent.worker.runtimes.base import Runtime, fits
from edgectl_protos.domain.errors import BundleError, ShapeError

__all__ = ["Pipeline"]


class Pipeline:
    """The release's processing around a loaded runtime. Results are valid until the next call.

    `first_inference_s` is the duration of the first inference since loading, None before it.
    """

    def __init__(self, release: Release, runtime: Runtime, *, first_inference_s: float | None = None) -> None:
        policy = release.manifest.policy
        inputs = {spec.name: spec for spec in release.component.inputs}
        tensors = [feature.tensor for feature in policy.observations]
        if sorted(tensors) != sorted(inputs):
            raise BundleError(
                f"the graph takes {', '.join(sorted(inputs))}; the policy feeds {', '.join(sorted(tensors))}",
                hint="convert the checkpoint again: edgectl convert",
            )
        if policy.action.tensor not in {spec.name for spec in release.component.outputs}:
            raise BundleError(f"the graph has no output {policy.action.tensor!r}")
        steps = {step.feature: step for step in policy.pre}
        self._runtime = runtime
        self._steps = [
            (
                feature.name,
                feature.tensor,
                normaliser(feature, steps.get(feature.name), release.arrays, inputs[feature.tensor]),
            )
            for feature in policy.observations
        ]
        self._expected = {
            feature.name: (feature.shape, np.dtype(feature.dtype.value)) for feature in policy.observations
        }
        self._unnormaliser = Unnormaliser(policy, release.arrays)
        self.first_inference_s = first_inference_s

    def normalise(self, observation: dict[str, Array]) -> dict[str, Array]:
        """Graph inputs from a raw observation, which `check` has passed."""
        return {tensor: step(observation[name]) for name, tensor, step in self._steps}

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Graph outputs."""
        if self.first_inference_s is None:
            started = time.perf_counter()
            outputs = self._runtime.infer(inputs)
            self.first_inference_s = time.perf_counter() - started
            return outputs
        return self._runtime.infer(inputs)

    def unnormalise(self, outputs: dict[str, Array]) -> Array:
        """Actions `[chunk, *action]` in the robot's units, checked to be finite."""
        return self._unnormaliser(outputs)

    def check(self, name: str, array: Array, *, hint: str = "") -> None:
        """Refuse an observation that is not of the feature's shape and type.

        Raises:
            ShapeError: with what was expected and what came.
        """
        shape, dtype = self._expected[name]
        if array.dtype == dtype and fits(array.shape, shape):
            return
        raise ShapeError(
            f"{name} is {dtype.name}{list(shape)} for this policy, got {array.dtype.name}{list(array.shape)}",
            hint=hint,
        )
