"""Runtimes that read torch programs, used directly in their own toolchain, with no edgectl: what each can do at best.

`bare_modules.py RUNTIME FOLDER`: each line of standard input is the name of a module, and is answered by a line of
JSON: what came of it, the exception's name, its message.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["RTOL", "agree"]

RTOL, _ATOL = 1e-3, 1e-4

_Run = Callable[..., Any]


def agree(found: Any, wanted: Any) -> None:
    """Raise AssertionError unless the values are those of eager torch; batch sizes of 1 do not count as a dimension."""
    values = np.asarray(found)
    assert values.size == np.asarray(wanted).size, f"{values.shape} for {np.asarray(wanted).shape}"
    np.testing.assert_allclose(values.reshape(np.shape(wanted)), wanted, rtol=RTOL, atol=_ATOL)


def check(prepare: Callable[[Any], _Run | None], folder: Path, name: str) -> None:
    """Have the runtime take the module, and compute all cases where it runs here."""
    import torch
    from torch.utils import _pytree as pytree

    program = torch.export.load(str(folder / f"{name}.pt2"))
    run = prepare(program)
    if run is None:
        return
    golden = dict(np.load(folder / f"{name}.golden.npz", allow_pickle=False))
    args, _ = program.example_inputs
    outputs = [key for key in golden if key.startswith("out.")]
    for case in range(len(golden[outputs[0]])):
        given = [
            torch.from_numpy(np.array(golden[f"in.{port}"][case])).reshape(example.shape)
            for port, example in zip("xyz", args, strict=False)
        ]
        made = pytree.tree_leaves(run(*given))
        assert len(made) == len(outputs), f"{len(made)} outputs for {len(outputs)}"
        for key, value in zip(outputs, made, strict=True):
            agree(value.detach().numpy() if isinstance(value, torch.Tensor) else value, golden[key][case])


def _executorch(program: Any) -> _Run:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    made = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    loaded = Runtime.get().load_program(made.buffer)
    method = loaded.load_method("forward")
    assert method is not None
    return lambda *given: method.execute(list(given))


def _litert(program: Any) -> _Run:
    import litert_torch

    args, _ = program.example_inputs
    made: _Run = litert_torch.convert(program.module(), args)
    return made


def _aoti(program: Any) -> _Run:
    import torch

    folder = tempfile.mkdtemp(dir=os.environ["TMPDIR"])
    path = torch._inductor.aoti_compile_and_package(program, package_path=f"{folder}/module.pt2")
    made: _Run = torch._inductor.aoti_load_package(path)
    return made


def _coreml(program: Any) -> None:
    import coremltools

    coremltools.convert(
        program.run_decompositions({}),
        convert_to="mlprogram",
        minimum_deployment_target=coremltools.target.iOS18,
        compute_precision=coremltools.precision.FLOAT32,
        skip_model_load=True,
    )


_RUNTIMES: dict[str, Callable[[Any], _Run | None]] = {
    "aoti": _aoti,
    "coreml": _coreml,
    "executorch": _executorch,
    "litert": _litert,
}


def main() -> None:
    """Answer until there are no more names."""
    prepare, folder = _RUNTIMES[sys.argv[1]], Path(sys.argv[2])
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        answer = ["right", "", ""]
        try:
            check(prepare, folder, line.strip())
        except AssertionError as exc:
            answer = ["wrong", "outputs", " ".join(str(exc).split())[:400]]
        except BaseException as exc:  # noqa: BLE001 (each library raises what it likes, exits among them)
            answer = ["refused", type(exc).__name__, " ".join(str(exc).split())[:400]]
        replies.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
