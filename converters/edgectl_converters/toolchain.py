"""Toolchains: locked, isolated Python environments in which sources, passes and targets run.

`host` is the environment edgectl itself runs in. Every other one is a folder of data in `toolchains/` (recipe.py),
made on first use in `<cache>/toolchains/<name>-<lock>/`, or an interpreter that the team names. The digest of its lock
is part of the key of every step that ran in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edgectl_converters.brake import Brake
from edgectl_converters.environment import make_environment, missing_packages, probe, versions_in
from edgectl_converters.pythons import PythonSearch
from edgectl_converters.recipe import Recipe, recipe_names
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.errors import DocumentError, ToolchainError

__all__ = ["HOST", "Toolchain", "Toolchains"]

HOST = "host"
# What this package itself computes with; a target or source adds its own.
_HOST_PACKAGES = ("numpy", "onnx", "safetensors")
_OWN_PACKAGES = ("edgectl_converters", "edgectl_protos", "edgectl_agent")
_READY = "edgectl-ready.json"
"""Written last into an environment that edgectl makes: without it the environment is not whole."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """An environment: its interpreter (none where no Python for it is found), the digest of its lock (empty until it is
    made), where it comes from, and the versions that people ask about. `settings` are environment variables of its
    processes.
    """

    name: str
    python: Path
    lock: str
    origin: str
    versions: dict[str, str] = field(default_factory=dict)
    bridge: Path | None = None
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def can_be_made(self) -> bool:
        """Whether there is a Python to make it with."""
        return self.python != Path()

    def environment(self) -> dict[str, str]:
        """The environment variables of a process in it: edgectl's own code, and nothing else of the host."""
        variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        if self.bridge is not None:
            variables["PYTHONPATH"] = str(self.bridge)
        # No figure or file may depend on what a hub answers, and no library reports to its maker: the telemetry of
        # some is on unless they believe to run in CI.
        quiet = {"CI": "true", "NNCF_CI": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        return variables | quiet | {"PYTHONWARNINGS": "ignore"} | self.settings


@dataclass(frozen=True, slots=True)
class _Own:
    """A team's environment: its interpreter, and where that one finds packages."""

    python: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Choices:
    """The user's choices, by toolchain."""

    python: dict[str, _Own] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Ready:
    """What a made environment says about itself."""

    versions: dict[str, str]
    base: str


class Toolchains:
    """The toolchains of this user. `cache_dir` holds those made here, `config_dir` what the user chose instead; `brake`
    ends what makes one.
    """

    def __init__(
        self, cache_dir: Path, config_dir: Path, search: PythonSearch | None = None, *, recipes: Path | None = None
    ) -> None:
        self._cache = cache_dir / "toolchains"
        self._chosen = config_dir / "toolchains.json"
        self._search = search or PythonSearch(Path.home())
        self._recipes = recipes
        self.brake = Brake()

    def host(self, packages: Iterable[str] = ()) -> Toolchain:
        """The environment of this process; its lock is over edgectl's own needs and these packages.

        Raises:
            ToolchainError: a package is missing.
        """
        versions = {name: importlib.metadata.version(name) for name in _HOST_PACKAGES}
        for name in packages:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError as exc:
                raise ToolchainError(
                    f"{name} is needed for this and is not installed in edgectl's own environment",
                    hint=f"{sys.executable} -m pip install {name}",
                ) from exc
        versions["python"] = ".".join(map(str, sys.version_info[:3]))
        return Toolchain(HOST, Path(sys.executable), _lock_of(versions), "this environment", versions)

    def names(self) -> tuple[str, ...]:
        """Every toolchain there is."""
        return (HOST, *recipe_names(self._recipes))

    def list(self) -> list[Toolchain]:
        """Every toolchain, as it would be used now; the lock is empty where it would have to be made.

        Raises:
            ToolchainError: the user's choices cannot be read, or an environment of the user's is gone.
        """
        return [self.find(name) for name in self.names()]

    def find(self, name: str) -> Toolchain:
        """A toolchain as it is now, without making anything; the lock is empty where it would have to be made.

        Raises:
            ToolchainError: it is not known, the user's choices cannot be read, or the user's environment is gone.
        """
        if name == HOST:
            return self.host()
        recipe = self._recipe(name)
        own = self._choices().python.get(name)
        if own is not None:
            return self._team(recipe, own)
        made = self._made(recipe)
        if made is not None:
            return made
        python = self._search.find(recipe.python)
        origin = f"made on first use ({recipe.takes})" if python else self._no_python(recipe).message
        return Toolchain(name, python or Path(), "", origin)

    def lock_of(self, name: str, packages: Iterable[str] = ()) -> str:
        """The lock that a toolchain has, or will have once it is made; the host's is over these packages too.

        Raises:
            ToolchainError: as `find`, or the host lacks a package.
        """
        if name == HOST:
            return self.host(packages).lock
        return self.find(name).lock or self._recipe(name).lock

    def estimate(self, name: str) -> str:
        """What making it takes, in words; empty when nothing has to be made.

        Raises:
            ToolchainError: as `find`.
        """
        return "" if self.find(name).lock else self._recipe(name).takes

    def get(self, name: str, progress: Callable[[str], None]) -> Toolchain:
        """The toolchain of this name, made if need be.

        Raises:
            ToolchainError: it is not known, or cannot be made.
            DiskFullError: there is no room for it.
            CancelledError: the brake was pulled meanwhile.
        """
        found = self.find(name)
        if found.lock:
            # `edgectl cache` asks when it was last used.
            with contextlib.suppress(OSError):
                if self._cache in found.python.parents:
                    os.utime(found.python.parent.parent)
            return found
        recipe = self._recipe(name)
        base = self._search.find(recipe.python)
        if base is None:
            raise self._no_python(recipe)
        self._cache.mkdir(parents=True, exist_ok=True)
        with open(self._cache / f".{name}.lock", "w") as file:
            # A second one that needs it waits here and finds it made.
            fcntl.flock(file, fcntl.LOCK_EX)
            made = self._made(recipe)
            if made is None:
                folder = self._folder(recipe)
                versions = make_environment(recipe, base, folder, _bridge(self._cache), progress, self.brake)
                (folder / _READY).write_bytes(canonical_bytes(_Ready(versions, str(base))))
                made = self._made(recipe)
            assert made is not None, "it was made a moment ago"
            return made

    def use(self, name: str, python: Path) -> Toolchain:
        """Take a team's own environment from now on.

        Raises:
            ToolchainError: it is not a Python with what the toolchain needs in it.
        """
        recipe = self._recipe(name)
        found = probe(python, recipe.probe)
        if found is None:
            raise ToolchainError(
                f"{python} is not a Python: it does not run as one",
                hint="name its interpreter: --python ENV/bin/python",
            )
        missing = missing_packages(found.versions, recipe.needs)
        if missing:
            raise ToolchainError(
                f"{python} has no {', '.join(missing)}", hint=f"{python} -m pip install {' '.join(missing)}"
            )
        choices = dict(self._choices().python)
        choices[name] = _Own(str(python.absolute()), found.paths)
        self._choose(_Choices(choices))
        return self._team(recipe, choices[name])

    def forget(self, name: str) -> bool:
        """Go back to the toolchain that edgectl makes; whether there was a choice to forget.

        Raises:
            ToolchainError: it is not known.
        """
        self._recipe(name)
        try:
            choices = dict(self._choices().python)
        except ToolchainError:
            # Forgetting is what mends a file that cannot be read.
            self._chosen.unlink(missing_ok=True)
            return True
        there = choices.pop(name, None) is not None
        if there:
            self._choose(_Choices(choices))
        return there

    def _recipe(self, name: str) -> Recipe:
        if name not in self.names():
            raise ToolchainError(
                f"no toolchain {name!r}; there are: {', '.join(self.names())}", hint="edgectl toolchain list"
            )
        if name == HOST:
            raise ToolchainError("the host toolchain is edgectl's own environment, and cannot be replaced")
        return Recipe.read(name, self._recipes)

    def _choices(self) -> _Choices:
        try:
            return from_bytes(_Choices, self._chosen.read_bytes(), what=self._chosen.name)
        except FileNotFoundError:
            return _Choices()
        except (OSError, DocumentError) as exc:
            raise ToolchainError(f"{self._chosen} cannot be read: {exc}", hint=f"delete it: rm {self._chosen}") from exc

    def _choose(self, choices: _Choices) -> None:
        self._chosen.parent.mkdir(parents=True, exist_ok=True)
        aside = self._chosen.with_suffix(".new")
        aside.write_bytes(canonical_bytes(choices))
        aside.replace(self._chosen)

    def _team(self, recipe: Recipe, own: _Own) -> Toolchain:
        python = Path(own.python)
        mend = f"edgectl toolchain use {recipe.name} --python PATH, or: edgectl toolchain forget {recipe.name}"
        if not os.access(python, os.X_OK):
            raise ToolchainError(f"the {recipe.name} toolchain in use, {python}, is gone", hint=mend)
        # Its packages are looked up where its own Python finds them: starting it takes as long as a cached conversion.
        versions = versions_in(own.paths, recipe.probe)
        if missing := missing_packages(versions, recipe.needs):
            raise ToolchainError(
                f"the {recipe.name} toolchain in use, {python}, has no {', '.join(missing)} any more", hint=mend
            )
        return self._toolchain(recipe, python, versions, _lock_of(versions), "yours")

    def _made(self, recipe: Recipe) -> Toolchain | None:
        folder = self._folder(recipe)
        python = folder / "bin" / "python"
        try:
            ready = from_bytes(_Ready, (folder / _READY).read_bytes(), what=_READY)
        except (OSError, DocumentError):
            return None
        if not os.access(python, os.X_OK):
            raise ToolchainError(
                f"the {recipe.name} toolchain was made with {ready.base}, which is gone",
                hint=f"bring it back, or have the toolchain made anew: rm -r {folder}",
            )
        return self._toolchain(recipe, python, ready.versions, recipe.lock, "made by edgectl")

    def _folder(self, recipe: Recipe) -> Path:
        return self._cache / f"{recipe.name}-{recipe.lock[:16]}"

    def _toolchain(self, recipe: Recipe, python: Path, versions: dict[str, str], lock: str, origin: str) -> Toolchain:
        return Toolchain(recipe.name, python, lock, origin, versions, _bridge(self._cache), recipe.environment)

    def _no_python(self, recipe: Recipe) -> ToolchainError:
        return ToolchainError(
            f"the {recipe.name} toolchain needs Python {recipe.python}, which was not found "
            f"(looked in {', '.join(self._search.places())})",
            hint=f"install it, or take your own: edgectl toolchain use {recipe.name} --python PATH",
        )


def _lock_of(versions: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()


def _bridge(cache: Path) -> Path:
    """A folder with edgectl's own packages and nothing else of the host's site-packages; the agent's worker is among
    them where it is installed, since some runtimes live in a toolchain.
    """
    bridge = cache / "bridge"
    for name in _OWN_PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            continue
        link, target = bridge / name, Path(next(iter(spec.submodule_search_locations)))
        if not link.is_symlink() or link.resolve() != target.resolve():
            bridge.mkdir(parents=True, exist_ok=True)
            aside = bridge / f".{name}-{os.getpid()}"
            aside.symlink_to(target)
            aside.replace(link)
    return bridge
