"""Real video and image files, written with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["write_image", "write_video"]


def write_video(path: Path, greys: Sequence[int], *, size: tuple[int, int] = (48, 64), fps: int = 30) -> Path:
    """A video of plain grey frames, H.264 in .mp4 or MJPEG in .avi."""
    import av

    mjpeg = path.suffix == ".avi"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg" if mjpeg else "libx264", rate=fps)
        stream.height, stream.width = size
        stream.pix_fmt = "yuvj420p" if mjpeg else "yuv420p"
        for grey in greys:
            pixels = np.full((*size, 3), grey, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_image(path: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    """A .png or .jpg of these RGB pixels."""
    import av

    jpeg = path.suffix == ".jpg"
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream: Any = container.add_stream("mjpeg" if jpeg else "png", rate=1)
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = "yuvj420p" if jpeg else "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path
