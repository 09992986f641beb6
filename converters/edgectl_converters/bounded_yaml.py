"""YAML that people write: text in, plain values or `YamlError` out, whatever the bytes.

Bounds stand before the parser: size, then nesting and number of values, counted on the stream of events. Aliases are
refused (a bomb needs nothing else), keys are texts and stand once, and a plain scalar is null, a boolean, an integer, a
number (also `1e-3`, which YAML 1.1 takes for a text) or else a text: no dates, no `yes`, no tags.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["MAX_SIZE_BYTES", "YamlError", "parse_yaml", "read_yaml"]

MAX_SIZE_BYTES = 1 << 20
_MAX_DEPTH = 24
_MAX_EVENTS = 100_000
_SCALARS = (
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"^[-+]?[0-9]{1,30}$"), list("-+0123456789")),
    (
        "float",
        re.compile(r"^[-+]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][-+]?[0-9]{1,4})?$"),
        list("-+0123456789."),
    ),
)


class YamlError(Exception):
    """The text is not YAML, or more than edgectl reads. Whoever reads a file makes one of our errors of it."""


def read_yaml(path: Path) -> Any:
    """The values of a file.

    Raises:
        YamlError: it cannot be read, or is not such YAML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE_BYTES + 1)
    except OSError as exc:
        raise YamlError(exc.strerror or str(exc)) from exc
    return parse_yaml(data)


def parse_yaml(data: bytes | str) -> Any:
    """The values of a text.

    Raises:
        YamlError: it is not YAML, too long or too deep, or has an alias, a tag, or a key that is odd or stands twice.
    """
    import yaml

    if len(data) > MAX_SIZE_BYTES:
        raise YamlError(f"longer than {MAX_SIZE_BYTES} bytes")
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        _check_events(text)
        return yaml.load(text, Loader=_loader())
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise YamlError(f"{where}{exc.problem or exc.context}") from exc
    except UnicodeDecodeError as exc:
        raise YamlError(f"no UTF-8: {exc.reason} at byte {exc.start}") from exc
    # What the parser itself raises for odd escapes (`"\\UFFFFFFFF"`) and odd bytes is no YAMLError.
    except (yaml.YAMLError, ValueError, OverflowError, IndexError, TypeError, AttributeError) as exc:
        raise YamlError(" ".join(str(exc).split())) from exc


def _check_events(text: str) -> None:
    """Refuse what would grow or nest without bound, before anything is built."""
    import yaml

    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise YamlError(f"line {line}: an anchor or alias (& or *), which is not read; write it out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise YamlError(f"line {line}: nested deeper than {_MAX_DEPTH}")
        if count > _MAX_EVENTS:
            raise YamlError(f"line {line}: more than {_MAX_EVENTS} values")


@functools.cache
def _loader() -> Any:
    """A loader of plain values; made at first use, for the library is imported late."""
    import yaml

    def mapping(loader: Any, node: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError(f"line {line}: a key that is no text")
            name = str(key.value)
            if name in found:
                raise YamlError(f"line {line}: the key {name!r} stands twice")
            found[name] = loader.construct_object(value, deep=True)
        return found

    def sequence(loader: Any, node: Any) -> list[Any]:
        return [loader.construct_object(item, deep=True) for item in node.value]

    def unknown(_loader: Any, node: Any) -> Any:
        raise YamlError(f"line {node.start_mark.line + 1}: the tag {node.tag!r}, which is not read")

    def scalar(convert: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
        return lambda loader, node: convert(str(loader.construct_scalar(node)))

    # What the base class resolves and constructs is left behind: every tag but these is refused.
    loader: Any = type("Loader", (yaml.SafeLoader,), {"yaml_implicit_resolvers": {}, "yaml_constructors": {}})
    for name, pattern, first in _SCALARS:
        loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", pattern, first)
    constructors = {
        "null": scalar(lambda text: None),
        "bool": scalar(lambda text: text.lower() == "true"),
        "int": scalar(int),
        "float": scalar(float),
        "str": scalar(str),
        "map": mapping,
        "seq": sequence,
    }
    for name, construct in constructors.items():
        loader.add_constructor(f"tag:yaml.org,2002:{name}", construct)
    loader.add_constructor(None, unknown)
    return loader
