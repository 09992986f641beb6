"""Writes the small torch modules with what eager torch makes of them.

Runs in the toolchain `torch`: `export_modules.py FOLDER PATTERN EVERY` writes `<name>.pt2` and `<name>.golden.npz`
beside it, as edgectl reads both, and prints the names, a line each. With `onnx` behind it also writes `<name>.onnx` as
torch's own exporter does, for runtimes that are used bare; what that refuses has its reason in `<name>.onnx.refused`.
"""

from __future__ import annotations

import contextlib
import fnmatch
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import sampled
from modules import Draw, Module, modules

_CASES = 3


def write(folder: Path, name: str, module: Module, draws: tuple[Draw, ...], *, onnx: bool) -> None:
    """The module's files."""
    dice = torch.Generator().manual_seed(7)
    module.eval()
    rows: dict[str, list[Any]] = {}
    program = None
    with torch.no_grad():
        for _ in range(_CASES):
            given = tuple(draw(dice) for draw in draws)
            made = module(*given)
            made = made if isinstance(made, tuple) else (made,)
            names = [f"in.{port}" for port in "xyz"[: len(given)]]
            names += [f"out.{'action' if index == 0 else f'other_{index}'}" for index in range(len(made))]
            for port, value in zip(names, (*given, *made), strict=True):
                values = value.numpy()
                rows.setdefault(port, []).append(values[0] if values.shape[:1] == (1,) else values)
            program = program or torch.export.export(module, given, strict=False)
    torch.export.save(program, str(folder / f"{name}.pt2"))
    np.savez(folder / f"{name}.golden.npz", allow_pickle=False, **{key: np.stack(them) for key, them in rows.items()})
    if onnx:
        _write_onnx(folder, name, program)


def _write_onnx(folder: Path, name: str, program: Any) -> None:
    try:
        # It prints to both streams.
        with contextlib.redirect_stdout(sys.stderr):
            exported = torch.onnx.export(program, dynamo=True, verbose=False)
            assert exported is not None
            exported.save(str(folder / f"{name}.onnx"))
    except Exception as exc:  # noqa: BLE001 (torch raises what it likes)
        (folder / f"{name}.onnx.refused").write_text(" ".join(str(exc).split())[:400])


def main() -> None:
    """Write those that are asked for."""
    folder, pattern, every, *more = sys.argv[1:]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # All are made, whatever is asked for, so that each has the weights that it always has.
    for name, module, draws in list(modules()):
        if fnmatch.fnmatch(name, pattern) and sampled(name, int(every)):
            write(Path(folder), name, module, draws, onnx=more == ["onnx"])
            print(name, flush=True)


if __name__ == "__main__":
    main()
