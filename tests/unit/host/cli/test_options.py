"""The words in which options are written."""

from __future__ import annotations

import click
import pytest

from edgectl_host.cli.options import AGE, DURATION, RATE, SIZE, declared_of, graph_options, target_options


@pytest.mark.parametrize(("text", "seconds"), [("20s", 20.0), ("500ms", 0.5), ("2min", 120.0)])
def test_a_duration_has_its_unit(text, seconds):
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize(("kind", "text"), [(DURATION, "20"), (DURATION, "-1s"), (RATE, "30"), (RATE, "fast")])
def test_what_is_none_is_refused_with_the_form(kind, text):
    with pytest.raises(click.BadParameter, match="unit"):
        kind.convert(text, None, None)


def test_a_rate_is_in_hertz():
    assert RATE.convert("12.5Hz", None, None) == 12.5


def option(name):
    @click.command
    @target_options
    def command(**options):
        pass

    return next(parameter.type for parameter in command.params if parameter.name == name)


def graph_option(name):
    @click.command
    @graph_options
    def command(**options):
        pass

    return next(parameter.type for parameter in command.params if parameter.name == name)


def test_a_scheme_is_one_word_or_words_by_component():
    assert str(option("scheme").convert("int8", None, None)) == "int8"
    words = option("scheme").convert("vision=int8, bf16", None, None)
    assert (words.of("vision"), words.of("prefix")) == ("int8", "bf16")


@pytest.mark.parametrize(
    "text", ["int 8", "vision=INT8", "=int8", "vision=", "int8,bf16", "vision=int8,vision=bf16", "x" * 50]
)
def test_what_is_no_scheme_is_refused(text):
    with pytest.raises(click.BadParameter):
        option("scheme").convert(text, None, None)


def test_a_shape_is_an_input_and_its_sizes():
    shape = graph_option("shapes")
    assert shape.convert("images=1x3x480x640", None, None) == ("images", (1, 3, 480, 640))
    assert shape.convert("serving/obs:0=1×40", None, None) == ("serving/obs:0", (1, 40))
    assert shape.convert("t=", None, None) == ("t", ())


@pytest.mark.parametrize("text", ["images", "=1x3", "images=1x-1", "images=1x0", "images=axb"])
def test_what_is_no_shape_is_refused(text):
    with pytest.raises(click.BadParameter, match="INPUT=1x3x480x640"):
        graph_option("shapes").convert(text, None, None)


def test_states_are_named_or_there_are_none():
    state = graph_option("states")
    assert declared_of((), [state.convert("h_in=h_out", None, None)]).states == {"h_in": "h_out"}
    assert declared_of((), [state.convert("none", None, None)]).states == {}
    assert declared_of((), ()).states is None
    with pytest.raises(click.BadParameter, match="INPUT=OUTPUT"):
        state.convert("h_in", None, None)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2_592_000.0), ("12h", 43_200.0), ("1.5min", 90.0), ("2W", 1_209_600.0)]
)
def test_an_age_has_its_unit(text, seconds):
    assert AGE.convert(text, None, None) == seconds


@pytest.mark.parametrize(("text", "size"), [("10GB", 10**10), ("500 MB", 5 * 10**8), ("1.5kb", 1500)])
def test_a_size_is_in_decimal_units(text, size):
    assert SIZE.convert(text, None, None) == size


@pytest.mark.parametrize(("kind", "text"), [(AGE, "30"), (AGE, "-3d"), (AGE, "3 years"), (SIZE, "10"), (SIZE, "big")])
def test_an_age_or_size_without_its_unit_is_refused(kind, text):
    with pytest.raises(click.BadParameter, match="units"):
        kind.convert(text, None, None)
