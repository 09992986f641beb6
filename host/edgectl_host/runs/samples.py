"""The samples of a run as a device spooled them: the bytes of an .npz, read strictly."""

from __future__ import annotations

import io
import zipfile
import zlib

import numpy as np
import numpy.typing as npt

from edgectl_protos.domain.errors import ProtocolError

__all__ = ["MAX_BYTES", "read_responses_s"]

MAX_BYTES = 1 << 30
"""Ten times what a run of the most ticks spools."""


def read_responses_s(data: bytes) -> npt.NDArray[np.float64]:
    """The response time of every slot, in seconds.

    Raises:
        ProtocolError: these are not the samples of a run, or those of an older agent.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            found = file["responses"]
    except KeyError as exc:
        raise ProtocolError(
            "the device's samples have no response times: its agent is older than this edgectl",
            hint="install the same version on host and device: edgectl doctor",
        ) from exc
    except (OSError, ValueError, TypeError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as exc:
        raise ProtocolError(f"the device's samples cannot be read: {exc}") from exc
    if found.ndim != 1 or found.dtype != np.int64 or not found.size or found.min() <= 0:
        raise ProtocolError(f"the device's samples hold no response times but {found.dtype}{list(found.shape)}")
    seconds: npt.NDArray[np.float64] = found / 1e9
    return seconds
