"""Records one successful episode as footage: an .mp4 of each camera and the state of the same frames.

    MUJOCO_GL=osmesa python record.py policy --out footage

The order of the film: the tool idles over the moving cart, the policy presses the pad and holds on for a
moment, then tool and cart go back to where they began, so that the film can be played in a loop.
"""

import argparse
import pathlib

import av
import numpy as np
from pilot import Pilot
from sim import CAMERAS, CONTROL_HZ, Observation, Studio, Verdict, World

IDLE_TICKS = 20
HOLD_TICKS = 8
REST_TICKS = 10
RETURN_TICK_LIMIT = 150
_TOOL_REACH_M = 0.010
_CART_SPEED_M_S = 0.15
# The cart slows down over the last stretch, within what its acceleration allows.
_CART_GAIN_PER_S = 4.0
_HOME_ERROR_M = 0.001
# At 96 x 96 the pad is some 5 pixels wide, and a coarser film changes what a policy sees.
_CRF = "8"


class EpisodeFailed(RuntimeError):
    """The policy did not press the pad on this seed."""


def film(pilot: Pilot, world: World) -> list[Observation]:
    """Fly the whole sequence and return every frame.

    Raises:
        EpisodeFailed: the policy missed or ran out of time.
    """
    frames: list[Observation] = []

    def shoot(target_m: np.ndarray) -> None:
        frames.append(world.observe())
        world.step(target_m)

    home_m, cart_home_x_m = world.tip_m, world.cart.x_m
    for _ in range(IDLE_TICKS):
        shoot(home_m)
    while world.verdict is Verdict.OPEN:
        observation = world.observe()
        frames.append(observation)
        world.step(pilot.target_m(observation))
    if world.verdict is not Verdict.SUCCESS:
        raise EpisodeFailed(f"{world.verdict.value} after {world.ticks} ticks: try another --seed")
    for _ in range(HOLD_TICKS):
        shoot(pilot.target_m(world.observe()))
    for _ in range(RETURN_TICK_LIMIT):
        gap_m, cart_gap_m = home_m - world.tip_m, cart_home_x_m - world.cart.x_m
        if np.linalg.norm(gap_m) < _HOME_ERROR_M and abs(cart_gap_m) < _HOME_ERROR_M:
            break
        world.cart.steer(float(np.clip(_CART_GAIN_PER_S * cart_gap_m, -_CART_SPEED_M_S, _CART_SPEED_M_S)))
        shoot(world.tip_m + gap_m * min(1.0, _TOOL_REACH_M / max(float(np.linalg.norm(gap_m)), 1e-9)))
    for _ in range(REST_TICKS):
        shoot(home_m)
    return frames


def write_video(path: pathlib.Path, pictures: list[np.ndarray]) -> None:
    """Write RGB pictures as H.264 at the control rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=CONTROL_HZ, options={"crf": _CRF, "preset": "veryslow"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("policy", type=pathlib.Path, help="LeRobot directory")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()

    studio = Studio()
    frames = film(Pilot(args.policy), World(studio, args.seed))
    studio.close()
    args.out.mkdir(parents=True, exist_ok=True)
    for camera in CAMERAS:
        write_video(args.out / f"observation.images.{camera}.mp4", [frame.images[camera] for frame in frames])
    np.save(args.out / "observation.state.npy", np.stack([frame.state for frame in frames]))
    print(f"{len(frames)} frames, {len(frames) / CONTROL_HZ:.1f} s")


if __name__ == "__main__":
    main()
