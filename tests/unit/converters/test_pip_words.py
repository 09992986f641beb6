"""What pip says, as it was recorded, and what of it is shown."""

from __future__ import annotations

from edgectl_converters.pip_words import no_index_words, no_room_words, why

IGNORED = "WARNING: Location 'file:///wheels/{}' is ignored: it is either a non-existing path or lacks a scheme.\n"
NO_MATCH = (
    "ERROR: Could not find a version that satisfies the requirement numpy==9 (from versions: none)\n"
    + "".join(IGNORED.format(index) for index in range(5))
    + "ERROR: No matching distribution found for numpy==9\n"
    + IGNORED.format("last")
    + "[notice] A new release of pip is available\n"
)


def test_the_error_is_shown_and_not_the_warnings_after_it():
    said = why(NO_MATCH)
    assert said.startswith("Could not find a version that satisfies the requirement numpy==9")
    assert said.endswith("| No matching distribution found for numpy==9")


def test_an_error_goes_on_over_the_lines_that_belong_to_it():
    said = (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES.\n  six from six.whl:\n      Expected sha256 aa\n      Got bb\n"
    )
    assert why(said) == "THESE PACKAGES DO NOT MATCH THE HASHES. | six from six.whl: | Expected sha256 aa"


def test_without_an_error_the_last_lines_that_are_no_warnings_are_shown():
    assert why("one\ntwo\n" + IGNORED.format("a") + "three\n\nfour\n" + IGNORED.format("b")) == "two | three | four"
    assert why(IGNORED.format("a")) == "it said nothing"


def test_a_full_disk_and_an_index_out_of_reach_are_told_from_other_failures():
    assert no_room_words("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")
    assert no_room_words("OSError: [Errno 122] Disk quota exceeded: '/cache'")
    assert no_room_words(NO_MATCH) == ""
    assert no_index_words("WARNING: Retrying (Retry(total=0)) after connection broken by 'x'\n" + NO_MATCH)
    assert no_index_words(NO_MATCH) == ""
