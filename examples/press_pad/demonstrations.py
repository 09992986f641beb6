"""The expert's demonstrations: recorded once into a folder, read back memory-mapped.

Two thirds are made under strong noise and one third under weak noise. The noise is executed but not recorded:
every frame holds the expert's own answer to wherever the noise has pushed the tool, which teaches recovery.
Only successes are kept. One .npy file per feature, frames of all episodes in a row, and `episode.npy` saying
whose each frame is.
"""

import pathlib
from dataclasses import dataclass

import expert
import numpy as np
from sim import ACTION_SIZE, CAMERAS, Observation, Studio, Verdict, World

FIRST_SEED = 100_000
_STRONG_NOISE_M = 0.012
_WEAK_NOISE_M = 0.004
# Share of the noise that lives on into the next tick: pushes last about a third of a second.
_NOISE_MEMORY = 0.9
# Now and then the tool is held still, or a policy learns to go on doing whatever its velocity says.
_STALL_PROBABILITY = 0.02
_STALL_TICKS = 8
_TICKS_AFTER_CONTACT = 8


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """All frames, by LeRobot's feature name: pictures [frames, height, width, 3] uint8, vectors float32."""

    features: dict[str, np.ndarray]
    episode: np.ndarray

    @property
    def last_frames(self) -> np.ndarray:
        """For each frame, the index of the last frame of its episode."""
        return np.searchsorted(self.episode, self.episode, side="right") - 1

    def held_out(self, episodes: int) -> np.ndarray:
        """True for the frames of the last `episodes` episodes."""
        return self.episode > self.episode[-1] - episodes


def record(folder: pathlib.Path, episodes: int) -> None:
    """Make `episodes` successful demonstrations and write them to `folder`."""
    studio = Studio()
    kept: list[list[tuple[Observation, np.ndarray]]] = []
    seed = FIRST_SEED
    while len(kept) < episodes:
        noise_m = _WEAK_NOISE_M if len(kept) % 3 == 2 else _STRONG_NOISE_M
        frames = _episode(World(studio, seed), np.random.default_rng([seed, 1]), noise_m)
        if frames:
            kept.append(frames)
        seed += 1
    studio.close()

    flat = [frame for frames in kept for frame in frames]
    folder.mkdir(parents=True, exist_ok=True)
    for camera in CAMERAS:
        pictures = np.stack([observation.images[camera] for observation, _ in flat])
        np.save(folder / f"observation.images.{camera}.npy", pictures)
    np.save(folder / "observation.state.npy", np.stack([observation.state for observation, _ in flat]))
    np.save(folder / "action.npy", np.stack([action for _, action in flat]).astype(np.float32))
    # Written last: its presence means that the folder is complete.
    np.save(folder / "episode.npy", np.repeat(np.arange(len(kept)), [len(frames) for frames in kept]))


def load(folder: pathlib.Path) -> Demonstrations:
    """Open what `record` wrote."""
    names = [f"observation.images.{camera}" for camera in CAMERAS] + ["observation.state", "action"]
    features = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
    return Demonstrations(features, np.load(folder / "episode.npy"))


def _episode(world: World, rng: np.random.Generator, noise_m: float) -> list[tuple[Observation, np.ndarray]]:
    """Frames up to a little after contact; none if the episode was no success."""
    frames: list[tuple[Observation, np.ndarray]] = []
    push_m = np.zeros(ACTION_SIZE)
    ticks_left, stall_ticks = _TICKS_AFTER_CONTACT, 0
    while world.verdict in (Verdict.OPEN, Verdict.SUCCESS) and ticks_left > 0:
        ticks_left -= world.verdict is Verdict.SUCCESS
        action = expert.target_m(world.tip_m, world.cart)
        frames.append((world.observe(), action))
        fresh_m = noise_m * rng.normal(size=ACTION_SIZE)
        push_m = _NOISE_MEMORY * push_m + np.sqrt(1.0 - _NOISE_MEMORY**2) * fresh_m
        if stall_ticks == 0 and rng.random() < _STALL_PROBABILITY:
            stall_ticks, stalled_at_m = _STALL_TICKS, world.tip_m
        if stall_ticks > 0:
            stall_ticks -= 1
            world.step(stalled_at_m)
        else:
            world.step(action + push_m)
    return frames if world.verdict is Verdict.SUCCESS else []
