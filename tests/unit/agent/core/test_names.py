"""What hosts may call deployments, runs and themselves."""

from __future__ import annotations

import pytest

from edgectl_agent.core.names import check_id, check_label
from edgectl_protos.domain.errors import UsageError


@pytest.mark.parametrize("text", ["", "../x", "a/b", ".hidden", "a" * 101, "a\n", "ä", "a\0"])
def test_an_id_that_is_unfit_to_name_a_file_is_refused(text):
    with pytest.raises(UsageError, match="run id"):
        check_id(text, what="run id")


def test_ids_of_hosts_are_taken():
    assert check_id("3f2b-A_c.9", what="run id") == "3f2b-A_c.9"


@pytest.mark.parametrize("text", ["x" * 201, "two\nlines", "\x1b[2J"])
def test_a_name_that_nobody_could_be_shown_is_refused(text):
    with pytest.raises(UsageError, match="is no name of an owner"):
        check_label(text, what="an owner")


def test_a_name_may_be_empty_and_of_any_alphabet():
    assert [check_label(text, what="an owner") for text in ("", "Jörg@labor")] == ["", "Jörg@labor"]
