"""Several files as one: what each includes comes under it, what stands later goes over it, and a profile over all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.errors import Problem, TopologyError, did_you_mean
from orchestrator.topology.guesses import Guesses, some
from orchestrator.topology.interpolate import fill
from orchestrator.topology.model import written
from orchestrator.topology.values import Refused, read_name
from orchestrator.topology.yaml_nodes import (
    MAX_BYTES,
    MAX_NODES,
    Entry,
    ListNode,
    MapNode,
    Mistake,
    ScalarNode,
    Unreadable,
    compose,
    decode,
    described,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.topology.yaml_nodes import Node, Place

MAX_FILES: Final = 100
"""Files that one topology may come from, counting each time that one is included."""
MAX_PROFILED: Final = 300_000
"""Nodes of the topology under each of its profiles in turn, together: each of these is checked as a whole."""


class Gathered(NamedTuple):
    """The tree that several files come to, and what was noticed on the way."""

    root: MapNode
    profiles: dict[str, Entry]
    texts: dict[str, str]
    """What was read, by the name of the file as messages have it."""
    mistakes: list[Mistake]


def read(path: Path, source: str) -> bytes:
    """Return what a file holds, or just more of it than is read. Raises `TopologyError` if it cannot be read."""
    try:
        with path.open("rb") as file:  # it may be a device, which has no end
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        sentence = f"the file cannot be read: {(error.strerror or str(error)).lower()}"
        raise TopologyError([Problem(source, 0, 0, "", sentence)]) from None


def gather(files: Sequence[tuple[str, Path, bytes]], environ: Mapping[str, str]) -> Gathered:
    """Merge files from left to right, each given as its name in messages, its path, and what it holds.

    Later wins, maps merge, lists replace. Raises `TopologyError` for a file that cannot be read to its end.
    """
    gathering = _Gathering(environ)
    root: MapNode | None = None
    for source, path, raw in files:
        tree = gathering.tree(source, path, raw, ())
        root = tree if root is None else merged(root, tree)
    assert root is not None
    if root.size > MAX_NODES:
        sentence = f"the files together hold more than {MAX_NODES} values"
        raise TopologyError([Problem(root.place.source, 0, 0, "", sentence)])
    return Gathered(*_without_profiles(root, gathering.mistakes), gathering.texts, gathering.mistakes)


class _Gathering:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.texts: dict[str, str] = {}
        self.mistakes: list[Mistake] = []
        self.guesses = Guesses()
        self.count = 0

    def tree(self, source: str, path: Path, raw: bytes, chain: tuple[tuple[Path, str], ...]) -> MapNode:
        """Return one file over what it includes; `chain` leads to it, from the first file on."""
        self.count += 1
        if self.count > MAX_FILES:
            raise TopologyError([Problem(source, 0, 0, "", f"the topology comes from more than {MAX_FILES} files")])
        try:
            text = decode(raw)
            self.texts[source] = text
            root, mistakes = compose(text, source, included=bool(chain))
        except Unreadable as error:
            place, steps, sentence, code = error.mistake
            problem = Problem(source, place.line, place.column, written(steps), sentence, code)
            raise TopologyError([problem], texts=self.texts) from None
        self.mistakes += mistakes
        include = root.entries.get("include")
        entries = {key: entry for key, entry in root.entries.items() if key != "include" and not key.startswith("x-")}
        own = MapNode(root.place, entries, root.size, root.height)
        if include is None:
            return own
        below: MapNode | None = None
        for node in self.names(include.value):
            part = self.included(node, path, (*chain, (path.resolve(), source)))
            if part is not None:
                below = part if below is None else merged(below, part)
        return own if below is None else merged(below, own)._replace(place=root.place)

    def names(self, node: Node) -> list[ScalarNode]:
        items = node.items if isinstance(node, ListNode) else (node,)
        for item in items:
            if not isinstance(item, ScalarNode) or not item.text:
                sentence = f"expected the path of a file, or a list of them, found {described(item)}"
                self.mistakes.append(Mistake(item.place, ("include",), sentence))
        return [item for item in items if isinstance(item, ScalarNode) and item.text]

    def included(self, node: ScalarNode, path: Path, chain: tuple[tuple[Path, str], ...]) -> MapNode | None:
        def wrong(sentence: str) -> None:
            self.mistakes.append(Mistake(node.place, ("include",), sentence))

        filled = fill(node.text, self.environ, self.guesses)
        if filled.wrong:
            for sentence in filled.wrong:
                wrong(sentence)
            return None
        named = Path(filled.text)
        if named.is_absolute():
            wrong(f"{node.text!r} is an absolute path; a file is included relative to the one that includes it")
            return None
        target = path.parent / named
        source = str(Path(node.place.source).parent / named)
        if target.resolve() in [link for link, _ in chain]:
            way = " → ".join([*(name for _, name in chain), source])
            wrong(f"this file includes itself: {way}")
            return None
        if target.is_dir():
            above = [link for link, _ in chain]
            inside = next((file for file in sorted(target.glob("*.y*ml")) if file.resolve() not in above), None)
            hint = "" if inside is None else f", such as {str(Path(node.text) / inside.name)!r}"
            wrong(f"{node.text!r} is a directory; name a file{hint}")
            return None
        if not target.is_file():
            near = [str(other.relative_to(target.parent)) for other in sorted(target.parent.glob("*.y*ml"))]
            wrong(f"there is no file {source!r}{did_you_mean(named.name, near)}")
            return None
        return self.tree(source, target, read(target, source), chain)


def merged(below: MapNode, above: MapNode) -> MapNode:
    """Return two mappings as one: what stands in both is merged if it is two mappings, and else taken from `above`."""
    entries = dict(below.entries)
    for key, entry in above.entries.items():
        under = entries.get(key)
        if under is not None and isinstance(under.value, MapNode) and isinstance(entry.value, MapNode):
            entries[key] = Entry(under.key, merged(under.value, entry.value))
        else:
            entries[key] = entry
    size = 1 + sum(entry.value.size for entry in entries.values())
    return MapNode(below.place, entries, size, max(below.height, above.height))


def _without_profiles(root: MapNode, mistakes: list[Mistake]) -> tuple[MapNode, dict[str, Entry]]:
    """Take the profiles out of the tree: they say what it may become, and not what it is."""
    entry = root.entries.get("profiles")
    if entry is None:
        return root, {}
    rest = MapNode(root.place, {k: v for k, v in root.entries.items() if k != "profiles"}, root.size, root.height)
    if not isinstance(entry.value, MapNode):
        sentence = f"expected a mapping of names to what each profile changes, found {described(entry.value)}"
        mistakes.append(Mistake(entry.value.place, ("profiles",), sentence))
        return rest, {}
    profiles = {}
    for name, profile in entry.value.entries.items():
        try:
            read_name(name)
        except Refused as error:
            mistakes.append(Mistake(profile.key, ("profiles", name), error.sentence))
        if isinstance(profile.value, MapNode):
            own = {key: entry for key, entry in profile.value.entries.items() if not key.startswith("x-")}
            profiles[name] = Entry(profile.key, profile.value._replace(entries=own))
        else:
            sentence = f"expected a mapping of what this profile changes, found {described(profile.value)}"
            mistakes.append(Mistake(profile.value.place, ("profiles", name), sentence))
    if sum(rest.size + profile.value.size for profile in profiles.values()) > MAX_PROFILED:
        sentence = (
            f"with each of its {len(profiles)} profiles in turn, the topology holds more than {MAX_PROFILED} values"
        )
        raise TopologyError([Problem(entry.key.source, entry.key.line, entry.key.column, "profiles", sentence)])
    return rest, profiles


def profile_places(root: MapNode, profiles: Mapping[str, Entry]) -> dict[Place, str]:
    """Return which profile each place is in; what an alias puts into the tree as well is in none."""
    if not profiles:
        return {}
    found = {place: name for name, entry in profiles.items() for place in (entry.key, *_places(entry.value))}
    for place in _places(root):
        found.pop(place, None)
    return found


def _places(node: Node) -> Iterator[Place]:
    yield node.place
    if isinstance(node, MapNode):
        for entry in node.entries.values():
            yield entry.key
            yield from _places(entry.value)
    elif isinstance(node, ListNode):
        for item in node.items:
            yield from _places(item)


def profiled(root: MapNode, profiles: Mapping[str, Entry], names: Sequence[str]) -> MapNode:
    """Return the tree with profiles over it. Raises `TopologyError` for one that no file declares."""
    for name in names:
        entry = profiles.get(name)
        if entry is None:
            known = did_you_mean(name.lower(), profiles) or f"; there are {some(profiles)}"
            sentence = f"no profile called {name!r} is declared{known}"
            raise TopologyError([Problem(root.place.source, 0, 0, "profiles", sentence)])
        assert isinstance(entry.value, MapNode)
        root = merged(root, entry.value)
    return root
