"""A topology file, read: YAML, variables filled in, every value checked, every mistake told at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.errors import Problem, TopologyError
from orchestrator.topology.guesses import Guesses
from orchestrator.topology.interpolate import fill
from orchestrator.topology.model import Origin, Spot, Topology, written
from orchestrator.topology.references import check_references
from orchestrator.topology.scopes import lobby_channel, team_channel
from orchestrator.topology.sentences import findings
from orchestrator.topology.values import Nothing, Text
from orchestrator.topology.yaml_nodes import ListNode, MapNode, Mistake, Unreadable, compose, decode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.topology.yaml_nodes import Node, ScalarNode, Steps


def load_topology(path: Path, environ: Mapping[str, str]) -> Topology:
    """Read a topology file.

    Raises `TopologyError` with every mistake in it, in the order of the file; `environ` fills in its variables.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        sentence = f"the file cannot be read: {(error.strerror or str(error)).lower()}"
        raise TopologyError([Problem(str(path), 0, 0, "", sentence)]) from None
    return parse_topology(raw, environ, source=str(path), path=path)


def parse_topology(raw: bytes, environ: Mapping[str, str], *, source: str, path: Path) -> Topology:
    """Read the bytes of a topology file that lies, or would lie, at `path`, and is called `source` in messages."""
    try:
        root, mistakes = compose(decode(raw))
    except Unreadable as error:
        place, steps, sentence = error.mistake
        raise TopologyError([Problem(source, place.line, place.column, written(steps), sentence)]) from None
    reading = _Reading(environ, mistakes)
    data = reading.top(root)
    withheld = frozenset(name for steps, names in reading.variables.items() if steps[0] == "hub" for name in names)
    origin = Origin(source, path, reading.spots, withheld)
    problems = [
        Problem(source, place.line, place.column, written(steps), sentence)
        for place, steps, sentence in reading.mistakes
    ]
    topology = None
    try:
        topology = Topology.model_validate(data, context=origin)
    except ValidationError as error:
        unset = {mistake.steps for mistake in reading.mistakes}
        problems += [
            origin.at_key(steps, sentence) if at_key else origin.at_value(steps, sentence)
            for steps, sentence, at_key in findings(error)
            if steps not in unset  # of a value that could not even be filled in, one thing is said
        ]
    problems += check_references(data, origin)
    if topology is not None:
        problems += [*_check_hub(topology), *_check_rooms(topology)]
        if next(topology.each_agent(), None) is None:
            sentence = "the file declares no agent: nothing stands under coordinators, workers or agents"
            problems.append(origin.at_key((), sentence))
    if problems or topology is None:
        raise TopologyError(_in_order(problems))
    return topology


@dataclass
class _Reading:
    """Turns nodes into plain values, and remembers where each stood and what it was filled in from."""

    environ: Mapping[str, str]
    mistakes: list[Mistake]
    spots: dict[Steps, Spot] = field(default_factory=dict)
    variables: dict[Steps, tuple[str, ...]] = field(default_factory=dict)
    guesses: Guesses = field(default_factory=Guesses)

    def top(self, root: MapNode) -> dict[str, Any]:
        """Return the file's values; keys that begin with ``x-`` are the author's own, for anchors and other tools."""
        self.spots[()] = Spot(root.place, root.place)
        entries = {key: entry for key, entry in root.entries.items() if not key.startswith("x-")}
        return {
            key: self.value(entry.value, (key,), Spot(entry.key, entry.value.place)) for key, entry in entries.items()
        }

    def value(self, node: Node, steps: Steps, spot: Spot) -> Any:
        self.spots[steps] = spot
        if isinstance(node, MapNode):
            return {
                key: self.value(entry.value, (*steps, key), Spot(entry.key, entry.value.place))
                for key, entry in node.entries.items()
            }
        if isinstance(node, ListNode):
            return [
                self.value(item, (*steps, index), Spot(item.place, item.place)) for index, item in enumerate(node.items)
            ]
        return self.scalar(node, steps)

    def scalar(self, node: ScalarNode, steps: Steps) -> Any:
        if node.plain and node.text in ("", "~", "null"):
            return Nothing.NOTHING
        filled = fill(node.text, self.environ, self.guesses)
        if filled.variables:
            self.variables[steps] = filled.variables
        self.mistakes += [Mistake(node.place, steps, sentence) for sentence in filled.wrong]
        return Text(filled.text, node.text) if node.plain or filled.variables else filled.text


def _check_hub(topology: Topology) -> list[Problem]:
    hub, origin = topology.hub, topology.origin
    problems = []
    if hub.url is not None and hub.key is None:
        sentence = "a hub at a URL needs a key to sign tokens with: 'key: ${HUB_KEY}'"
        problems.append(origin.at_value(("hub", "url"), sentence))
    if hub.url is not None and "listen" in hub.model_fields_set:
        problems.append(origin.at_key(("hub", "listen"), "only a local hub listens; with a URL, leave this key out"))
    return problems


def _check_rooms(topology: Topology) -> list[Problem]:
    """Two rooms with one channel would hear each other."""
    channels: dict[str, str] = {}
    problems = []
    rooms: list[tuple[Steps, str]] = [(("teams", name), team_channel(topology, name)) for name in topology.teams]
    rooms += [(("presence", name), lobby_channel(topology, name)) for name in topology.presence]
    for steps, channel in rooms:
        other = channels.setdefault(channel, written(steps))
        if other != written(steps):
            sentence = f"its channel {channel!r} is the one of {other} too; each needs its own"
            problems.append(topology.origin.at_key((*steps, "channel"), sentence))
    return problems


def _in_order(problems: list[Problem]) -> list[Problem]:
    """Sort problems by place; what an alias makes appear in several places is said once."""
    unique: dict[tuple[int, int, str], Problem] = {}
    for problem in sorted(problems):
        unique.setdefault((problem.line, problem.column, problem.sentence), problem)
    return list(unique.values())
