"""The arguments of `edgectl-agent`."""

from __future__ import annotations

import pytest

from edgectl_agent.__main__ import main


@pytest.mark.parametrize("option", ["--worker-mib", "--reserve-mib"])
@pytest.mark.parametrize("value", ["-1", "many"])
def test_a_bound_that_is_no_number_of_mib_is_refused_and_never_taken_for_none(option, value, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "--state-dir", str(tmp_path), "--listen", "unix:/x", f"{option}={value}"])
    assert ended.value.code == 2
    assert option in capsys.readouterr().err
