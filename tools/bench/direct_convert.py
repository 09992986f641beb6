"""The libraries called directly: `PYTHON direct_convert.py FULL.onnx CALIBRATION.npz OUT.xml`.

The same work as edgectl's int8 build for OpenVINO: read ONNX, quantise with the same calibration cases, save.
"""

from __future__ import annotations

import sys

import nncf
import numpy as np
import openvino


def main() -> None:
    """Quantise and save."""
    graph, calibration, out = sys.argv[1:]
    with np.load(calibration) as file:
        arrays = {name: file[name] for name in file.files}
    cases = [
        {name: values[index] for name, values in arrays.items()} for index in range(len(next(iter(arrays.values()))))
    ]
    model = openvino.convert_model(graph)
    model = nncf.quantize(model, nncf.Dataset(cases), subset_size=len(cases))
    openvino.save_model(model, out, compress_to_fp16=False)


if __name__ == "__main__":
    main()
