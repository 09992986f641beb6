"""What each component of a policy becomes: a runtime and a scheme, the same for all or named one by one.

Written `int8`, or `vision=int8,prefix=int8,bf16`: names where they differ, and what the rest gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgectl_protos.domain.artifact import check_scheme
from edgectl_protos.domain.errors import UsageError

__all__ = ["Assignment", "BoardOption", "Choice"]


@dataclass(frozen=True, slots=True)
class Choice:
    """One word for every component, but for those that are named."""

    default: str
    named: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str, *, default: str = "") -> Choice:
        """Read `int8` or `vision=int8,bf16`.

        Raises:
            UsageError: a component is named twice, or two words are for the rest.
        """
        named: dict[str, str] = {}
        rest: list[str] = []
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, word = part.partition("=")
            if not equals:
                rest.append(name)
            elif not name or not word or name in named:
                raise UsageError(f"{text!r} is not one word a component", hint="write vision=int8,prefix=int8,bf16")
            else:
                named[name] = word
        if len(rest) > 1:
            raise UsageError(f"{text!r} has two words for the rest: {', '.join(rest)}")
        return cls(rest[0] if rest else default, tuple(sorted(named.items())))

    def of(self, component: str) -> str:
        """The word for a component."""
        return dict(self.named).get(component, self.default)

    @property
    def words(self) -> tuple[str, ...]:
        """Every word in it."""
        return tuple(dict.fromkeys(filter(None, (self.default, *(word for _, word in self.named)))))

    def check_names(self, components: Sequence[str]) -> None:
        """Refuse a name that the policy does not have.

        Raises:
            UsageError: naming those that it has.
        """
        for name, _ in self.named:
            if name not in components:
                raise UsageError(f"the policy has no component {name!r}; it has: {', '.join(components)}")

    def __str__(self) -> str:
        return ",".join([*(f"{name}={word}" for name, word in self.named), *([self.default] if self.default else [])])


@dataclass(frozen=True, slots=True, order=True)
class BoardOption:
    """What a runtime's target reads of the board."""

    runtime: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """Runtimes, schemes, and what targets read of the board. Devices with equal assignments share one release."""

    runtime: Choice
    scheme: Choice
    board: tuple[BoardOption, ...] = ()

    def __post_init__(self) -> None:
        for _, scheme in (("", self.scheme.default), *self.scheme.named):
            check_scheme(scheme)

    @classmethod
    def of(cls, runtime: str, scheme: str) -> Assignment:
        """One runtime and one scheme for all, or each as `Choice.parse` reads it."""
        return cls(Choice.parse(runtime), Choice.parse(scheme))

    def options_of(self, runtime: str) -> dict[str, str]:
        """What the board says to the target of a runtime."""
        return {option.key: option.value for option in self.board if option.runtime == runtime}

    def __str__(self) -> str:
        board = ",".join(f"{option.key}={option.value}" for option in self.board)
        return " ".join(filter(None, (str(self.runtime), str(self.scheme), board and f"({board})")))
