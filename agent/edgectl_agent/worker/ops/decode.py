"""Decodes video files and images to RGB frames with PyAV, one frame on demand, on the calling thread.

One thread on purpose: a decoder with threads of its own would work ahead while the model runs, and its cost
would show in the wrong stage. Frames are uint8 [height, width, 3], contiguous, and belong to the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgectl_agent.worker.release import Array
from edgectl_protos.domain.errors import RuntimeMissingError, SourceError

__all__ = ["ImageDecoder", "VideoDecoder"]


class _Decoder:
    """A file with one video stream (an image is a video of one frame)."""

    def __init__(self, path: Path) -> None:
        try:
            import av
            from av.video.reformatter import VideoReformatter
        except ImportError as exc:
            raise RuntimeMissingError(
                "PyAV is not installed on this device, and a source needs it",
                hint="install it on the device: pip install 'edgectl-agent[video]'",
            ) from exc
        self._path = path
        self._av_error: type[Exception] = av.error.FFmpegError
        # The one of the decoder is made anew for each frame.
        self._reformatter = VideoReformatter()
        try:
            self._container = av.open(str(path))
        except (av.error.FFmpegError, OSError) as exc:
            raise SourceError(
                f"{path.name} cannot be opened as video or image: {exc}",
                hint="check the file on the host: edgectl init --help",
            ) from exc
        if not self._container.streams.video:
            raise SourceError(f"{path.name} holds no video stream")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "NONE"

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _rgb(self, frame: Any) -> Array:
        pixels: Array = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        return pixels


class VideoDecoder(_Decoder):
    """The frames of a video file, in order."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._frames: Iterator[Any] = self._container.decode(self._stream)
        self._count = 0

    def read(self) -> Array | None:
        """The next frame, or None at the end.

        Raises:
            SourceError: the frame does not decode.
        """
        try:
            frame = next(self._frames, None)
            pixels = None if frame is None else self._rgb(frame)
        except self._av_error as exc:
            raise SourceError(f"{self._path.name} does not decode at frame {self._count}: {exc}") from exc
        self._count += 1
        return pixels

    def rewind(self) -> None:
        """Go back to the first frame.

        Raises:
            SourceError: the file cannot be searched.
        """
        try:
            self._container.seek(0, stream=self._stream)
        except self._av_error as exc:
            raise SourceError(f"{self._path.name} cannot be rewound: {exc}") from exc
        self._frames = self._container.decode(self._stream)
        self._count = 0


class ImageDecoder(_Decoder):
    """One image, read once and decoded each time, as a camera that sends JPEGs would make one do."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._packet = next(self._container.demux(self._stream))
        except (self._av_error, StopIteration) as exc:
            raise SourceError(f"{path.name} holds no image: {exc}") from exc

    def read(self) -> Array:
        """The image.

        Raises:
            SourceError: it does not decode.
        """
        try:
            frames = self._stream.codec_context.decode(self._packet)
        except self._av_error as exc:
            raise SourceError(f"{self._path.name} does not decode: {exc}") from exc
        if not frames:
            raise SourceError(f"{self._path.name} is not a whole image")
        return self._rgb(frames[0])
