"""What the components of a release run on, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgectl_protos.domain.artifact import precision_of
from edgectl_protos.domain.device import ComponentFacts

__all__ = ["as_asked", "components_words", "precisions_word", "providers_word", "runtimes_word"]


def runtimes_word(components: Sequence[ComponentFacts]) -> str:
    """The runtimes, each once, in the order of their first use."""
    return _each_once(component.runtime for component in components)


def precisions_word(components: Sequence[ComponentFacts]) -> str:
    """The precisions that are used, each once."""
    return _each_once(component.precision for component in components)


def providers_word(components: Sequence[ComponentFacts]) -> str:
    """The providers, each once."""
    return _each_once(component.provider for component in components)


def components_words(components: Sequence[ComponentFacts]) -> str:
    """Runtimes and precisions: `RUNTIME int8`, or `RUNTIME int8+bf16` where components differ."""
    return f"{runtimes_word(components)} {precisions_word(components)}".strip()


def as_asked(component: ComponentFacts) -> bool:
    """Whether it is computed at the precision that its scheme asks for."""
    return component.precision == precision_of(component.scheme)


def _each_once(words: Iterable[str]) -> str:
    return "+".join(dict.fromkeys(words))
