"""A topology file as a tree of nodes that know their places, composed from YAML with its traps closed.

Scalars stay text: nothing here decides that ``no`` is a boolean, ``12:30`` a number or ``2024-01-01`` a date.
What a text means is decided by the field that it stands in.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import yaml
from yaml import events as ev

from orchestrator.topology.yaml_wording import explain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.topology.odd_spaces import Spaces

MAX_BYTES: Final = 1_048_576
MAX_DEPTH: Final = 32
MAX_ALIASES: Final = 100
MAX_BORROWED: Final = 10_000
"""Nodes that all aliases together may repeat."""
MAX_NODES: Final = 100_000
"""Nodes that a file may spell out: several thousand agents of many keys, and still within a second to refuse more."""

Steps: TypeAlias = tuple[str | int, ...]
"""The way from the top of a file to a value: keys, and positions in lists."""


class Place(NamedTuple):
    """Where something stands; line and column count from 1."""

    line: int
    column: int
    source: str = ""
    """The file, as the user named it; empty for the one file that is read."""


class ScalarNode(NamedTuple):
    place: Place
    text: str
    plain: bool
    """Written without quotes, and in no block."""
    size: int = 1
    height: int = 1


class ListNode(NamedTuple):
    place: Place
    items: tuple[Node, ...]
    size: int
    height: int


class MapNode(NamedTuple):
    place: Place
    entries: dict[str, Entry]
    size: int
    height: int


class Entry(NamedTuple):
    key: Place
    value: Node


Node: TypeAlias = ScalarNode | ListNode | MapNode


class Mistake(NamedTuple):
    """A problem that does not know yet which file it is in."""

    place: Place
    steps: Steps
    sentence: str
    code: str = ""


class Unreadable(Exception):
    """The text cannot be read any further; `mistake` says why."""

    def __init__(self, mistake: Mistake) -> None:
        self.mistake = mistake
        super().__init__(mistake)


def decode(raw: bytes) -> str:
    """Return the file's text without its byte order mark. Raises `Unreadable` for what is no text, or too much."""
    if len(raw) > MAX_BYTES:
        raise Unreadable(Mistake(Place(0, 0), (), f"the file has more than {MAX_BYTES} bytes, and no more are read"))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig", errors="replace")
        sentence = f"the byte 0x{raw[error.start]:02x} here is not UTF-8 text; save the file as UTF-8"
        raise Unreadable(Mistake(_end_of(before), (), sentence)) from None
    if stray := _NOT_YAML.search(text) or _BREAKS.search(text):
        sentence = f"the control character U+{ord(stray[0]):04X} cannot stand in a topology file"
        raise Unreadable(Mistake(_end_of(text[: stray.start()]), (), sentence))
    return text


_NOT_YAML: Final[re.Pattern[str]] = yaml.reader.Reader.NON_PRINTABLE
"""Characters that YAML has no place for; a pattern of our own would take as long to compile as a small file to check."""
_BREAKS: Final = re.compile("[\x85\u2028\u2029\ufeff]")
"""Characters that break lines where no editor shows it, and marks of byte order within a text."""
_DIRECTIVE: Final = re.compile("^%", re.MULTILINE)


def _end_of(text: str) -> Place:
    lines = re.split("\r\n|\r|\n", text)
    return Place(len(lines), len(lines[-1]) + 1)


def compose(text: str, source: str = "", *, included: bool = False) -> tuple[MapNode, list[Mistake]]:
    """Return the tree of the one mapping that `text` holds, with every mistake that did not prevent reading on.

    `source` is what places in it say of where they are; a file that another one includes is no whole topology.

    Raises `Unreadable` for anything else: broken syntax, another kind of document, more than the limits allow.
    """
    if directive := _DIRECTIVE.search(text):
        sentence = "a line that begins with '%' is a YAML directive, and a topology file has none"
        raise Unreadable(Mistake(_end_of(text[: directive.start()])._replace(source=source), (), sentence))
    composer = _Composer(yaml.parse(text, Loader=_LOADER), source, _spaces(text), included=included)
    try:
        root = composer.document()
    except yaml.MarkedYAMLError as error:
        place, sentence = explain(error, text)
        raise Unreadable(Mistake(Place(*place, source), composer.steps, sentence)) from None
    return root, composer.mistakes


def _spaces(text: str) -> Spaces | None:
    if text.isascii():
        return None
    from orchestrator.topology.odd_spaces import Spaces  # its patterns take as long to compile as a small file to check

    return Spaces.of(text)


_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Composer:
    def __init__(self, events: Iterator[Any], source: str, spaces: Spaces | None, *, included: bool) -> None:
        """`spaces` = what finds odd spaces in the text; `None` where it holds none."""
        self.events, self.source, self.spaces, self.included = events, source, spaces, included
        self.mistakes: list[Mistake] = []
        self.steps: Steps = ()
        self.anchors: dict[str, Node | None] = {}
        """What each anchor names; `None` while that is still being read."""
        self.nodes = self.aliases = self.borrowed = 0

    def document(self) -> MapNode:
        next(self.events)  # the start of the stream
        start = next(self.events)
        if isinstance(start, ev.StreamEndEvent):
            raise Unreadable(Mistake(Place(1, 1, self.source), (), self.empty))
        first = next(self.events)
        root = self.node(first)
        if not isinstance(root, MapNode):
            if isinstance(root, ScalarNode) and not root.text:
                sentence = self.empty
            elif self.included:
                sentence = (
                    f"an included file is a mapping of keys such as 'workers', and this one holds {described(root)}"
                )
            else:
                sentence = f"a topology is a mapping that begins 'version: 1', and this file holds {described(root)}"
            raise Unreadable(Mistake(root.place, (), sentence))
        next(self.events)  # the end of the document
        more = next(self.events)
        if not isinstance(more, ev.StreamEndEvent):
            self.wrong(self.place(more), "a second document begins here, and a file holds one topology")
        return root

    @property
    def empty(self) -> str:
        if self.included:
            return "this included file is empty; put something into it, or take it out of 'include'"
        return "the file is empty; the smallest topology begins 'version: 1'"

    def place(self, event: Any) -> Place:
        return Place(event.start_mark.line + 1, event.start_mark.column + 1, self.source)

    def wrong(self, place: Place, sentence: str, code: str = "") -> None:
        self.mistakes.append(Mistake(place, self.steps, sentence, code))

    def stop(self, place: Place, sentence: str) -> Unreadable:
        return Unreadable(Mistake(place, self.steps, sentence))

    def node(self, event: Any, depth: int = 1) -> Node:
        place = self.place(event)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.stop(place, f"the file holds more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise self.stop(place, f"this is nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, ev.AliasEvent):
            return self.alias(str(event.anchor), place, depth)
        if event.tag is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            self.wrong(place, f"the YAML tag {tag!r} is not allowed; a value is what its key expects")
        anchor = event.anchor
        if anchor is not None:
            self.anchors[anchor] = None
        node: Node
        if isinstance(event, ev.ScalarEvent):
            plain = event.style in (None, "")
            text = event.value if self.spaces is None or not plain else self.spaced(event, self.spaces)
            node = ScalarNode(place, self.harmless(text, place), plain)
        elif isinstance(event, ev.SequenceStartEvent):
            node = self.sequence(place, depth)
        else:
            node = self.mapping(place, depth)
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def spaced(self, event: Any, spaces: Spaces) -> str:
        """Return a text without the odd spaces around it, which are told; what they indent cannot be read."""
        odd = spaces.around(event)
        if odd is None:
            return str(event.value)
        line, column, sentence, ends = odd
        place = Place(line, column, self.source)
        if ends:
            raise self.stop(place, sentence)
        self.wrong(place, sentence)
        return spaces.without(event.value)

    def harmless(self, text: str, place: Place) -> str:
        """Return `text`, or nothing in place of a secret: wherever it stands, no message shall repeat it."""
        if "sk_secret_" not in text:
            return text
        self.wrong(place, "a secret stands here in clear text; take it from a variable, such as ${HUB_KEY}", "ORC108")
        return ""

    def alias(self, name: str, place: Place, depth: int) -> Node:
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise self.stop(place, f"the file holds more than {MAX_ALIASES} aliases")
        if name not in self.anchors:
            raise self.stop(place, f"no anchor '&{name}' stands above this alias")
        named = self.anchors[name]
        if named is None:
            raise self.stop(place, f"the alias '*{name}' stands inside what it names")
        self.borrowed += named.size
        if self.borrowed > MAX_BORROWED:
            raise self.stop(place, f"the aliases of this file repeat more than {MAX_BORROWED} values")
        if depth + named.height - 1 > MAX_DEPTH:
            raise self.stop(place, f"with this alias the file is nested more than {MAX_DEPTH} levels deep")
        return named._replace(place=place)

    def sequence(self, place: Place, depth: int) -> ListNode:
        above = self.steps
        items: list[Node] = []
        while not isinstance(event := next(self.events), ev.SequenceEndEvent):
            self.steps = (*above, len(items))
            items.append(self.node(event, depth + 1))
        self.steps = above
        return ListNode(place, tuple(items), *_extent(items))

    def mapping(self, place: Place, depth: int) -> MapNode:
        above = self.steps
        entries: dict[str, Entry] = {}
        merged: list[MapNode] = []
        while not isinstance(event := next(self.events), ev.MappingEndEvent):
            key = self.key(event, depth)
            if key is None:
                self.node(next(self.events), depth + 1)
                continue
            self.steps = (*above, key.text)
            first = entries.get(key.text)
            if first is not None:
                self.wrong(key.place, f"the key {key.text!r} stands here again; the first is in {_words(first.key)}")
            value = self.node(next(self.events), depth + 1)
            if key.text == "<<" and key.plain:
                merged += self.merged(value)
            elif first is None:
                entries[key.text] = Entry(key.place, value)
            self.steps = above
        for source in merged:
            for name, entry in source.entries.items():
                entries.setdefault(name, entry)
        return MapNode(place, entries, *_extent([entry.value for entry in entries.values()]))

    def key(self, event: Any, depth: int) -> ScalarNode | None:
        """Return a mapping's next key; `None`, with the mistake noted, for what cannot be one."""
        node = self.node(event, depth + 1)
        if isinstance(node, ScalarNode) and not isinstance(event, ev.AliasEvent) and node.text:
            odd = self.spaces.inside(event) if self.spaces is not None and node.plain else None
            if odd is None:
                return node
            self.wrong(Place(odd.line, odd.column, self.source), odd.sentence)
            return None
        what = "an alias" if isinstance(event, ev.AliasEvent) else described(node)
        self.wrong(node.place, f"a key is a word before a colon, and this one is {what}")
        return None

    def merged(self, value: Node) -> list[MapNode]:
        sources = value.items if isinstance(value, ListNode) else (value,)
        maps = [source for source in sources if isinstance(source, MapNode)]
        if len(maps) < len(sources):
            self.wrong(value.place, "'<<' takes an alias of a mapping, or a list of them")
        return maps


def _words(place: Place) -> str:
    return f"line {place.line}, column {place.column}"


def _extent(children: list[Node]) -> tuple[int, int]:
    """Return the size and the height of a node with these children."""
    size = height = 1
    for child in children:
        size += child.size
        height = max(height, child.height + 1)
    return size, height


def described(node: Node) -> str:
    """Name a node the way its author sees it."""
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    return f"the text {node.text[:60]!r}" if node.text else "nothing"
