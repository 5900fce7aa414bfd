"""Topology files, read: YAML, variables filled in, every value checked, every mistake told at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Problem, TopologyError
from orchestrator.topology.delivery import check_delivery
from orchestrator.topology.enabled import without_disabled
from orchestrator.topology.files import gather, profile_places, profiled, read
from orchestrator.topology.guesses import Guesses
from orchestrator.topology.interpolate import fill
from orchestrator.topology.kinds import check_kinds
from orchestrator.topology.model import Origin, Spot, Topology, written
from orchestrator.topology.references import check_references
from orchestrator.topology.scopes import lobby_channel, team_channel
from orchestrator.topology.validation import validate
from orchestrator.topology.values import Nothing, Text, is_loopback
from orchestrator.topology.yaml_nodes import ListNode, MapNode, Mistake, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from orchestrator.topology.yaml_nodes import Node, ScalarNode, Steps


def load_topology(paths: Path | Sequence[Path], environ: Mapping[str, str], profiles: Sequence[str] = ()) -> Topology:
    """Read a topology file, or several merged from left to right, with `profiles` over them.

    Raises `TopologyError` with every mistake in them, in the order of the files; `environ` fills in their variables.
    """
    files = [paths] if isinstance(paths, Path) else list(paths)
    return _parse([(str(path), path, read(path, str(path))) for path in files], environ, profiles)


def parse_topology(
    raw: bytes, environ: Mapping[str, str], *, source: str, path: Path, profiles: Sequence[str] = ()
) -> Topology:
    """Read the bytes of a topology file that lies, or would lie, at `path`, and is called `source` in messages."""
    return _parse([(source, path, raw)], environ, profiles)


def _parse(files: Sequence[tuple[str, Path, bytes]], environ: Mapping[str, str], profiles: Sequence[str]) -> Topology:
    gathered = gather(files, environ)
    source, path, _ = files[0]
    guesses = Guesses()

    told = [
        Problem(at.source, at.line, at.column, written(steps), said, code)
        for at, steps, said, code in gathered.mistakes
    ]
    places = profile_places(gathered.root, gathered.profiles)

    def checked(root: MapNode) -> tuple[Topology | None, list[Problem]]:
        reading = _Reading(environ, guesses)
        data = reading.top(root)
        hub = [names for steps, names in reading.variables.items() if steps[0] in ("hub", "store")]
        origin = Origin(
            source=source,
            path=path,
            spots=reading.spots,
            withheld=frozenset(name for names in hub for name in names),
            texts=gathered.texts,
            literals=reading.literals,
            profiled=places,
        )
        problems = [origin.at_place(place, steps, said) for place, steps, said, _ in reading.mistakes]
        unset = {mistake.steps for mistake in (*gathered.mistakes, *reading.mistakes)}
        topology, found = _validated(data, origin, unset)
        return topology, problems + found

    topology, problems = checked(profiled(gathered.root, gathered.profiles, profiles))
    problems += told
    for name in gathered.profiles:  # also those that are not asked for: a mistake is not to wait
        if name not in profiles:
            found = checked(profiled(gathered.root, gathered.profiles, [name]))[1]
            problems += [it for it in found if places.get(Place(it.line, it.column, it.source)) == name]
    if problems or topology is None:
        raise TopologyError(_in_order(problems, list(gathered.texts)), texts=gathered.texts)
    return without_disabled(topology)


def _validated(data: dict[str, Any], origin: Origin, unset: Set[Steps]) -> tuple[Topology | None, list[Problem]]:
    """Return the topology that plain values come to, and everything that is wrong with them."""
    topology, findings = validate(Topology, data, origin=origin)
    problems = [
        origin.at_key(steps, sentence) if at_key else origin.at_value(steps, sentence)
        for steps, sentence, at_key in findings
        if steps not in unset  # of a value that could not even be filled in, one thing is said
    ]
    problems += check_references(data, origin)
    problems += check_kinds(data, origin)
    if topology is not None:
        problems += [*_check_hub(topology, unset), *_check_rooms(topology), *check_delivery(topology)]
        incomplete = any(steps[:1] == ("include",) for steps in unset)
        if next(topology.each_agent(), None) is None and not incomplete:
            sentence = "the file declares no agent: nothing stands under coordinators, workers or agents"
            problems.append(origin.at_key((), sentence))
    return topology, problems


class _Reading:
    """Turns nodes into plain values, and remembers where each stood and what it was filled in from."""

    def __init__(self, environ: Mapping[str, str], guesses: Guesses) -> None:
        self.environ, self.guesses = environ, guesses
        self.mistakes: list[Mistake] = []
        self.spots: dict[Steps, Spot] = {}
        self.variables: dict[Steps, tuple[str, ...]] = {}
        self.literals: set[Steps] = set()
        """Values in which no variable stands."""

    def top(self, root: MapNode) -> dict[str, Any]:
        self.spots[()] = Spot(root.place, root.place)
        return {
            key: self.value(entry.value, (key,), Spot(entry.key, entry.value.place))
            for key, entry in root.entries.items()
        }

    def value(self, node: Node, steps: Steps, spot: Spot) -> Any:
        self.spots[steps] = spot
        if isinstance(node, MapNode):
            return {
                key: self.value(entry.value, (*steps, key), Spot(entry.key, entry.value.place))
                for key, entry in node.entries.items()
                if not (key.startswith("x-") and _holds_keys(steps))
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
        else:
            self.literals.add(steps)
        self.mistakes += [Mistake(node.place, steps, sentence) for sentence in filled.wrong]
        return Text(filled.text, node.text) if node.plain or filled.variables else filled.text


def _holds_keys(steps: Steps) -> bool:
    """Tell whether a mapping has keys of the language, among which ``x-`` ones are the author's own, and not names."""
    return steps[-1] != "environment" and (len(steps) > 1 or steps[0] in ("hub", "defaults"))


def _check_hub(topology: Topology, unset: Set[Steps]) -> list[Problem]:
    """`unset` are the values that could not be filled in, which is said of them already."""
    hub, origin = topology.hub, topology.origin
    problems = []
    if hub.url is not None and hub.key is None and ("hub", "key") not in unset:
        sentence = "a hub at a URL needs a key to sign tokens with: key: '${HUB_KEY}'"
        problems.append(origin.at_value(("hub", "url"), sentence))
    if hub.url is not None and "listen" in hub.given:
        problems.append(origin.at_key(("hub", "listen"), "only a local hub listens; with a URL, leave this key out"))
    if hub.url is not None and hub.backplane != "memory":
        sentence = (
            "only a local hub is started from this file, and so joined to others; with a URL, leave this key out and give "
            "it to that hub: `orchestrator hub serve --backplane …`"
        )
        problems.append(origin.at_key(("hub", "backplane"), sentence))
    if not is_loopback(hub.listen.host) and hub.tls is None:
        sentence = (
            "beyond this machine a hub needs TLS: add 'tls: {cert: cert.pem, key: key.pem}', or listen on 127.0.0.1"
        )
        problems.append(origin.at_value(("hub", "listen"), sentence))
    if hub.url is not None and hub.tls is not None:
        problems.append(
            origin.at_key(("hub", "tls"), "only a local hub has a certificate; with a URL, leave this key out")
        )
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


def _in_order(problems: list[Problem], sources: list[str]) -> list[Problem]:
    """Sort problems by place, in the order of the files; what an alias makes appear in several places is said once."""
    unique: dict[tuple[str, int, int, str], Problem] = {}
    rank = {source: number for number, source in enumerate(sources)}
    for problem in sorted(problems, key=lambda it: (rank.get(it.source, -1), it)):
        unique.setdefault((problem.source, problem.line, problem.column, problem.sentence), problem)
    return list(unique.values())
