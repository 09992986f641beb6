"""Measures how often a saved policy presses the pad, closed loop, at latency 0: the world waits while it
thinks.

    MUJOCO_GL=osmesa python evaluate.py policy --episodes 50

The seeds are not among those of the demonstrations.
"""

import argparse
import collections
import pathlib

import numpy as np
from pilot import Pilot
from sim import CONTROL_HZ, Studio, Verdict, World


def run_episode(pilot: Pilot, world: World) -> Verdict:
    """Fly one episode to its verdict."""
    pilot.reset()
    while world.verdict is Verdict.OPEN:
        world.step(pilot.target_m(world.observe()))
    return world.verdict


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("policy", type=pathlib.Path, help="LeRobot directory")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--n-action-steps", type=int, help="instead of what the policy's own config says")
    args = parser.parse_args()

    pilot = Pilot(args.policy, args.n_action_steps)
    studio = Studio()
    verdicts: collections.Counter[Verdict] = collections.Counter()
    contact_s: list[float] = []
    for seed in range(args.first_seed, args.first_seed + args.episodes):
        world = World(studio, seed)
        verdicts[run_episode(pilot, world)] += 1
        if world.verdict is Verdict.SUCCESS:
            contact_s.append(world.ticks / CONTROL_HZ)
        else:
            print(f"seed {seed}: {world.verdict.value} after {world.ticks / CONTROL_HZ:.2f} s")
    studio.close()
    print(
        f"{verdicts[Verdict.SUCCESS]}/{args.episodes} pressed, {verdicts[Verdict.MISS]} missed, "
        f"{verdicts[Verdict.TIMEOUT]} timed out"
    )
    if contact_s:
        print(f"{np.mean(contact_s):.2f} s to contact on average, {max(contact_s):.2f} s at most")


if __name__ == "__main__":
    main()
