"""A saved LeRobot policy at the controls: pictures and state in, the next absolute joint targets out.

Loading and running are LeRobot's own, so what is measured here is the directory as anyone else would load it.
"""

import pathlib

import numpy as np
import torch
import torchvision_shim  # noqa: F401  (before anything that imports torchvision)
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from sim import Observation


class Pilot:
    """One loaded policy; `reset` between episodes."""

    def __init__(self, folder: pathlib.Path, n_action_steps: int | None = None) -> None:
        self._policy = ACTPolicy.from_pretrained(folder)
        if n_action_steps is not None:
            self._policy.config.n_action_steps = n_action_steps
        self._policy.reset()
        self._preprocess, self._postprocess = make_pre_post_processors(self._policy.config, pretrained_path=str(folder))

    def reset(self) -> None:
        """Forget the actions that were planned in the last episode."""
        self._policy.reset()

    def target_m(self, observation: Observation) -> np.ndarray:
        """The joint targets for this tick."""
        batch = {
            f"observation.images.{camera}": torch.from_numpy(picture).permute(2, 0, 1).float() / 255.0
            for camera, picture in observation.images.items()
        }
        batch["observation.state"] = torch.from_numpy(observation.state)
        action = self._postprocess(self._policy.select_action(self._preprocess(batch)))
        return action[0].numpy().astype(np.float64)
