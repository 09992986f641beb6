import subprocess
import sys

import pytest

from edgectl_agent.worker.runtimes.registry import RUNTIMES, create
from edgectl_protos.domain.errors import RuntimeMissingError


def test_every_runtime_stands_under_its_own_name():
    assert [create(name).name for name in RUNTIMES] == list(RUNTIMES)


def test_an_unknown_runtime_is_refused_with_those_that_are_known():
    with pytest.raises(RuntimeMissingError, match=r"'abacus'.*reference, onnxrt, openvino"):
        create("abacus")


def test_no_vendor_library_is_imported_before_it_is_needed():
    code = (
        "import sys, edgectl_agent.worker.serve\n"
        "from edgectl_agent.worker.runtimes.registry import RUNTIMES, create\n"
        "[create(name) for name in RUNTIMES]\n"
        "print({name.split('.')[0] for name in sys.modules} & {'onnx', 'onnxruntime', 'openvino', 'av'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
