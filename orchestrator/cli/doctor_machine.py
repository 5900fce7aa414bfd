"""What `doctor` says of the machine and its Python: verdicts on what was found there, and the probes that find it."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.cli.doctor_findings import Finding, none, ok, wrong

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from orchestrator.cli.requirements import Requirement

PACKAGE: Final = "topology-orchestrator"
LEAST_PYTHON: Final = (3, 11)
EXTRAS: Final[dict[str, tuple[str, str]]] = {
    "nats": ("nats-py", "a store or backplane of nats://"),
    "redis": ("redis", "a store or backplane of redis://"),
    "watch": ("watchfiles", "`run --watch`"),
    "metrics": ("prometheus-client", "`/metrics`"),
    "otel": ("opentelemetry-sdk", "traces"),
}
"""By extra, the package that it brings, and what wants it."""
FEW_FILES: Final = 1_024
"""Open files below which hardly a dozen replicas can be run."""
JUMP: Final = 0.1
"""Seconds by which two clocks may come apart while they are looked at."""
_OLD: Final = 1_735_689_600.0
"""The beginning of 2025: no clock that is right shows less."""


# -- Python and packages


def python(version: tuple[int, int, int]) -> Finding:
    shown = ".".join(map(str, version))
    if version[:2] < LEAST_PYTHON:
        return wrong("python", f"Python {shown} is too old", "use Python 3.11 or newer")
    return ok("python", f"Python {shown}")


def packages(
    requirements: Collection[Requirement], installed: Mapping[str, str | None], platform: str
) -> Iterator[Finding]:
    """`installed`: the version of each package by its name, `None` = it is not there."""
    core = [each for each in requirements if each.extra is None and each.platform != platform]
    if not core:
        yield none("packages", f"{PACKAGE} is not installed as a package, and says nothing about others")
        return
    bad = list(_unfit(core, installed))
    yield from (wrong("packages", sentence, f"pip install '{each.name}{each.range}'") for each, sentence in bad)
    if not bad:
        yield ok("packages", f"{len(core)} packages, in the versions that are wanted")


def _unfit(
    requirements: Iterable[Requirement], installed: Mapping[str, str | None]
) -> Iterator[tuple[Requirement, str]]:
    for each in requirements:
        version = installed.get(each.name)
        if version is None:
            yield each, f"{each.name} is not installed"
        elif not each.takes(version):
            yield each, f"{each.name} is {version}, and {each.range} is wanted"


def extras(
    requirements: Collection[Requirement], installed: Mapping[str, str | None], needed: Collection[str]
) -> Iterator[Finding]:
    """`needed`: the extras without which this topology cannot run."""
    for extra, (package, use) in EXTRAS.items():
        version = installed.get(package)
        command = f"pip install '{PACKAGE}[{extra}]'"
        own = [each for each in requirements if each.extra == extra and each.name == package]
        if version is not None and all(each.takes(version) for each in own):
            yield ok(f"extra {extra}", f"{package} {version}, for {use}")
        elif version is not None:
            yield wrong(f"extra {extra}", f"{package} is {version}, and {own[0].range} is wanted", command)
        elif extra in needed:
            yield wrong(f"extra {extra}", f"this topology needs {package}, which is not installed", command)
        else:
            yield none(f"extra {extra}", f"{package} is not installed; {use} would need it")


def find_requirements() -> list[Requirement]:
    """Return what this package says that it needs; nothing where it is not installed as one."""
    from importlib.metadata import PackageNotFoundError, requires

    from orchestrator.cli.requirements import read_requirement

    try:
        return [read_requirement(text) for text in requires(PACKAGE) or ()]
    except PackageNotFoundError:
        return []


def find_versions(names: Iterable[str]) -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def fast_parts(broken: Mapping[str, str], platform: str) -> Finding:
    """`broken`: why a library of the hub cannot be used, by its name."""
    if broken:
        told = "; ".join(f"{name} cannot be used: {why}" for name, why in broken.items())
        return wrong("hub's libraries", told, f"pip install --force-reinstall {' '.join(broken)}")
    return ok("hub's libraries", "picows can be used" if platform == "win32" else "uvloop and picows can be used")


def find_broken(names: Iterable[str]) -> dict[str, str]:
    """Import libraries with compiled parts, and return why those that cannot be cannot."""
    import importlib

    broken = {}
    for name in names:
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            broken[name] = str(error) or type(error).__name__
    return broken


# -- the system


def open_files(soft: int, hard: int, needed: int | None) -> Finding:
    """`needed`: those that a run of this topology has open at most; -1 = no limit. `None` = of no topology in particular."""
    most = "as many as there are" if hard < 0 else f"{hard:,}"
    advice = "raise the hard limit: `ulimit -Hn`, or LimitNOFILE= where systemd starts it"
    if hard >= 0 and needed is not None and hard < needed:
        return wrong("open files", f"a run has up to {needed:,} files open, and {hard:,} are allowed", advice)
    if hard >= 0 and needed is None and hard < FEW_FILES:
        return wrong("open files", f"{hard:,} are allowed, which is enough for a few replicas alone", advice)
    now = "no limit" if soft < 0 else f"{soft:,}"
    wanted = "" if needed is None else f"; a run has up to {needed:,} open"
    return ok("open files", f"{now}, and up to {most} for who asks{wanted}")


def find_open_files() -> tuple[int, int] | None:
    try:
        import resource
    except ImportError:
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)


@dataclass(frozen=True, slots=True)
class Clocks:
    """How far two clocks went while they were looked at: seconds."""

    wall: float
    monotonic: float
    now: float
    """Unix seconds."""


def clock(clocks: Clocks) -> Finding:
    apart = clocks.wall - clocks.monotonic
    if clocks.now < _OLD:
        shown = time.strftime("%Y-%m-%d", time.gmtime(clocks.now))
        return wrong("clock", f"the clock shows {shown}, which is past", "set the clock: tokens end by it")
    if abs(apart) > JUMP:
        return wrong(
            "clock",
            f"the clock was set by {apart:+.1f} s while it was looked at",
            "have one service set it, and slew rather than step; tokens end by it",
        )
    return ok("clock", "it goes evenly")


@dataclass(frozen=True, slots=True)
class Place:
    """The folder in which sockets of runs lie that cannot lie beside their topology."""

    path: str
    there: bool
    ours: bool


def runtime_folder(place: Place) -> Finding:
    if place.there and not place.ours:
        return wrong(
            "runtime folder",
            f"{place.path} is a link, somebody else's, or open to others",
            "remove it, or have XDG_RUNTIME_DIR name a folder that is its user's alone",
        )
    return ok("runtime folder", f"{place.path}{'' if place.there else ', which is made when it is needed'}")


def find_runtime_folder(environ: Mapping[str, str]) -> Place:
    from orchestrator.runtime import seats

    first = seats.private_places(environ)[0]
    return Place(str(first), os.path.lexists(first), seats.is_ours(first))


def stale_seats(folder: str, left: int) -> Finding:
    if not left:
        return ok("dead runs", f"none has left anything in {folder}")
    runs = "a run that was killed has" if left == 1 else f"{left} runs that were killed have"
    return wrong("dead runs", f"{runs} left sockets in {folder}", "`orchestrator ps` there removes them")


@dataclass(frozen=True, slots=True)
class Screen:
    """The terminal of standard output."""

    there: bool
    kind: str
    columns: int
    encoding: str
    colours: bool


def terminal(screen: Screen) -> Finding:
    if not screen.there:
        return none("terminal", f"output goes to no terminal; it is {screen.encoding}")
    colours = "colours" if screen.colours else "no colours"
    sentence = f"{screen.kind or 'of no kind that is told'}, {screen.columns} columns, {screen.encoding}, {colours}"
    if not is_unicode(screen.encoding):
        return none("terminal", sentence, "LANG=C.UTF-8 gives all characters")
    return ok("terminal", sentence)


def is_unicode(encoding: str) -> bool:
    return encoding.lower().replace("-", "").startswith("utf")


def find_screen() -> Screen:
    from orchestrator.cli.problems import wants_colour

    try:
        columns = os.get_terminal_size(1).columns
    except OSError:
        columns = 80
    encoding = (sys.stdout.encoding or "ascii").upper()
    return Screen(sys.stdout.isatty(), os.environ.get("TERM", ""), columns, encoding, wants_colour(sys.stdout))
