"""The libraries called directly: `PYTHON direct_convert.py FULL.onnx OUT.xml [NORMALISE.npz FOOTAGE]`.

The same work as edgectl's build for OpenVINO: read the graph, save; with footage quantise it with as many calibration
cases, read from the footage and normalised by NORMALISE's `.offset` and `.scale`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import openvino


def main() -> None:
    """Convert, quantise with footage, save."""
    graph, out, *recorded = sys.argv[1:]
    model = openvino.convert_model(graph)
    if recorded:
        import nncf

        with np.load(recorded[0]) as file:
            cases = from_footage(Path(recorded[1]), {name: file[name] for name in file.files})
        count = len(next(iter(cases.values())))
        inputs = [{name: values[index] for name, values in cases.items()} for index in range(count)]
        model = nncf.quantize(model, nncf.Dataset(inputs), subset_size=count)
    openvino.save_model(model, out, compress_to_fp16=False)


def from_footage(folder: Path, arrays: dict) -> dict:
    """Graph inputs from recorded frames, evenly over the length of each file."""
    cases = {}
    for file in sorted(folder.iterdir()):
        values = np.load(file) if file.suffix == ".npy" else np.stack(decoded(file))
        picks = np.linspace(0, len(values) - 1, int(arrays["count"])).round().astype(int)
        values = ((values[picks] - arrays[f"{file.stem}.offset"]) / arrays[f"{file.stem}.scale"]).astype(np.float32)
        name = file.stem.rpartition(".")[2]
        cases[name] = (values.transpose(0, 3, 1, 2) if values.ndim == 4 else values)[:, None]
    return cases


def decoded(file: Path) -> list:
    """All frames of a video."""
    import av

    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


if __name__ == "__main__":
    main()
