"""The simulated task "press the green pad on the moving cart", on MuJoCo.

One `World` is one episode: it owns the physics, the cart and the verdict. The tool's three joint positions
are the tip's world position in metres. The order of a tick: `observe()`, decide, `step(targets)`. The verdict
is `SUCCESS` when the tip touches the pad, `MISS` when it touches the cart or the table first, `TIMEOUT` after
eight seconds; once given it stays, and stepping on is allowed.

Rendering without a display needs MUJOCO_GL=osmesa (or egl) in the environment before Python starts.
"""

import enum
import pathlib
from dataclasses import dataclass

import mujoco
import numpy as np
from cart import Cart

CONTROL_HZ = 30
TICK_LIMIT = 240
CAMERAS = ("top", "wrist")
IMAGE_SIZE_PX = 96
STATE_SIZE = 6
ACTION_SIZE = 3
# The tip's centre when it rests on the pad: the pad's top at 48 mm and the tip's radius of 6 mm.
CONTACT_HEIGHT_M = 0.054

_STEPS_PER_TICK = 10
_STEP_S = 1.0 / (CONTROL_HZ * _STEPS_PER_TICK)
_TARGET_LOW_M = np.array([-0.32, -0.26, 0.0])
_TARGET_HIGH_M = np.array([0.32, 0.26, 0.25])


class Verdict(enum.Enum):
    """How an episode stands."""

    OPEN = "open"
    SUCCESS = "success"
    MISS = "miss"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Observation:
    """What a policy sees in one tick: RGB uint8 [height, width, 3] by camera, and the state, float32 [6]."""

    images: dict[str, np.ndarray]
    state: np.ndarray


class Studio:
    """The compiled scene and its one renderer, shared by every world made from it."""

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(pathlib.Path(__file__).with_name("scene.xml")))
        self._renderer = mujoco.Renderer(self.model, IMAGE_SIZE_PX, IMAGE_SIZE_PX)
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False

    def picture(self, data: mujoco.MjData, camera: str) -> np.ndarray:
        """Render one camera, RGB uint8."""
        self._renderer.update_scene(data, camera)
        return self._renderer.render()

    def close(self) -> None:
        """Free the renderer; left to the garbage collector it prints a traceback at exit."""
        self._renderer.close()


class World:
    """One episode of the task, reproducible from its seed."""

    def __init__(self, studio: Studio, seed: int) -> None:
        self._studio = studio
        self._data = mujoco.MjData(studio.model)
        rng = np.random.default_rng(seed)
        self.cart = Cart(rng)
        start_m = rng.uniform([-0.25, -0.18, 0.09], [0.25, 0.18, 0.12])
        self._data.qpos[:] = start_m
        self._data.ctrl[:] = start_m
        geoms = {name: studio.model.geom(name).id for name in ("tip", "pad", "cart", "table")}
        self._tip, self._pad = geoms["tip"], geoms["pad"]
        self._forbidden = {geoms["cart"], geoms["table"]}
        self.verdict = Verdict.OPEN
        self.ticks = 0
        self._place_cart()
        mujoco.mj_forward(studio.model, self._data)

    @property
    def tip_m(self) -> np.ndarray:
        """The tip's position."""
        return self._data.qpos.copy()

    def state(self) -> np.ndarray:
        """Joint positions (m) and velocities (m/s), float32 [6]."""
        return np.concatenate([self._data.qpos, self._data.qvel]).astype(np.float32)

    def observe(self) -> Observation:
        """Both cameras and the state, all of this instant."""
        images = {camera: self._studio.picture(self._data, camera) for camera in CAMERAS}
        return Observation(images, self.state())

    def step(self, target_m: np.ndarray) -> Verdict:
        """Hold these absolute joint targets for one control tick."""
        self._data.ctrl[:] = np.clip(target_m, _TARGET_LOW_M, _TARGET_HIGH_M)
        for _ in range(_STEPS_PER_TICK):
            self.cart.advance(_STEP_S)
            self._place_cart()
            mujoco.mj_step(self._studio.model, self._data)
            if self.verdict is Verdict.OPEN:
                self.verdict = self._judge()
        self.ticks += 1
        if self.verdict is Verdict.OPEN and self.ticks >= TICK_LIMIT:
            self.verdict = Verdict.TIMEOUT
        return self.verdict

    def _place_cart(self) -> None:
        self._data.mocap_pos[0, :2] = self.cart.x_m, self.cart.y_m

    def _judge(self) -> Verdict:
        touched = {int(g) for pair in self._data.contact.geom for g in pair if self._tip in pair}
        if self._pad in touched:
            return Verdict.SUCCESS
        return Verdict.MISS if touched & self._forbidden else Verdict.OPEN
