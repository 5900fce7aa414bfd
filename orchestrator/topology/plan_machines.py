"""A plan across machines: what each of them runs, where hub and store are, and the command that starts each part."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.errors import ExitCode, SeveralReasons, listed
from orchestrator.topology.part import NoSuchPart, part_of
from orchestrator.topology.plan_ranges import NoRange, chosen, read_range, replicas_in, written
from orchestrator.topology.values import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.topology.plan import Plan
    from orchestrator.topology.plan_ranges import Range
    from orchestrator.topology.replica import Replica

HUB: Final = "hub"
"""The word for the hub among those for agents; an agent of that name goes first."""
HERE: Final = "here"
"""What the machine is called where none is named: all is run on it."""
KEY_FILE: Final = "keys.yaml"
BACKPLANE_FILE: Final = "backplane.txt"
_HOSTS: Final = re.compile(r"[A-Za-z0-9.,:\[\]_-]+")

Assignments: TypeAlias = "Mapping[str, Sequence[str]]"
"""By machine, the words for what it runs: agents, ranges of their replicas, and ``hub``."""


class Misplaced(SeveralReasons):
    """What was asked for places something twice, nowhere, or where it cannot be; one sentence for each."""

    exit_code = ExitCode.INVALID


@dataclass(frozen=True, slots=True)
class Machine:
    name: str
    replicas: tuple[Replica, ...]
    words: tuple[str, ...]
    """The fewest that mean these replicas."""
    hub: bool
    """It starts a hub."""
    store: bool
    """The store lives in a process of its run."""
    command: tuple[str, ...]
    """What is typed on it, word by word."""


@dataclass(frozen=True, slots=True)
class Machines:
    """Every replica of a plan in one place, and the order of starting: the machine of the hub is the first."""

    plan: Plan
    machines: tuple[Machine, ...]
    hub_url: str | None
    """Where the machines reach a hub that all share; `None` = each has its own, or there is one machine."""
    backplane: str | None
    """What joins the hubs of several machines, without its credentials."""
    store: str | None
    """Of a store that machines share the address without its credentials, and of any other as the file has it."""
    external: tuple[str, ...]
    """Peer ids of those that no run starts."""


def arranged(plan: Plan, assignments: Assignments, files: Sequence[str]) -> Machines:
    """Return what runs where; no assignments = everything on one machine.

    `files` are the words of a command that name the topology. Raises `Misplaced` with everything that is wrong.
    """
    placing = _Placing(plan, assignments or {HERE: [*_everything(plan)]}, files)
    machines = placing.machines()
    if placing.wrong:
        raise Misplaced(*placing.wrong)
    joined = plan.hub.backplane if plan.hub.url is None else None
    return Machines(
        plan,
        tuple(sorted(machines, key=lambda machine: not machine.hub)),
        placing.hub_url,
        None if joined is None else without_login(joined),
        None if plan.store is None else without_login(plan.store),
        tuple(replica.peer_id for replica in plan.replicas if replica.external),
    )


def without_login(address: str) -> str:
    """Return the address of an engine without what might be a credential in it; that of a file as it is."""
    scheme, _, rest = address.partition("://")
    if not rest or scheme == "sqlite":
        return address
    login, at, hosts = rest.rpartition("@")
    shown = re.split("[/?#]", hosts, maxsplit=1)[0]
    return f"{scheme}://{shown}" if _HOSTS.fullmatch(shown) and not (at and "?" in login) else f"{scheme}://…"


def _everything(plan: Plan) -> Iterator[str]:
    yield from written([replica for replica in plan.replicas if not replica.external], plan)
    if plan.hub.url is None:
        yield HUB


class _Placing:
    """One arrangement while it is checked; `wrong` gathers what is the matter with it."""

    def __init__(self, plan: Plan, assignments: Assignments, files: Sequence[str]) -> None:
        self.plan, self.files = plan, files
        self.wrong: list[str] = []
        self.hubs: list[str] = []
        """The machines that were told to start a hub."""
        self.ranges: dict[str, tuple[Range, ...]] = {}
        agents = {replica.agent for replica in plan.replicas}
        for machine, words in assignments.items():
            own = [word for word in words if word != HUB or HUB in agents]
            if len(own) < len(words):
                self.hubs.append(machine)
            ranges, wrong = chosen(plan, own, f"machine {machine!r}")
            self.ranges[machine] = ranges
            self.wrong += wrong
        self.alone = len(self.ranges) == 1
        self.joined = plan.hub.url is None and plan.hub.backplane is not None
        self.hub_url: str | None = plan.hub.url
        self._check_replicas()
        self._check_hub()

    # -- what is wrong

    def _check_replicas(self) -> None:
        nowhere, misnamed = [], bool(self.wrong)
        for replica in self.plan.replicas:
            where = [name for name, ranges in self.ranges.items() if any(each.holds(replica) for each in ranges)]
            if replica.external:
                if where:
                    self.wrong.append(
                        f"machine {where[0]!r}: {replica.peer_id!r} is external, so no run starts it, here or elsewhere"
                    )
            elif not where:
                nowhere.append(replica)
            elif len(where) > 1:
                self.wrong.append(
                    f"{replica.peer_id!r} is placed {'twice' if len(where) == 2 else f'{len(where)} times'}, on "
                    f"{listed(where)}: a replica runs in one place"
                )
        if nowhere and not misnamed:  # what is misspelt is the reason
            words = ",".join(written(nowhere, self.plan))
            self.wrong.append(
                f"{words} runs nowhere: add it to a machine, as in --machine {next(iter(self.ranges))}=…,{words}"
            )

    def _check_hub(self) -> None:
        hub = self.plan.hub
        if hub.url is not None:
            if self.hubs:
                self.wrong.append(f"machine {self.hubs[0]!r}: the hub is at {hub.url}, and none of these starts it")
            return
        if self.joined:
            return  # each has its own
        if self.alone:
            self.hubs = [*self.ranges]
            return
        if len(self.hubs) > 1:
            self.wrong.append(
                f"the hub is placed on {listed(self.hubs)}: several act as one only where a backplane joins them, 'hub: "
                "{backplane: nats://…}'"
            )
            return
        if not self.hubs:
            self.wrong.append(
                f"the hub runs nowhere: add it to a machine, as in --machine {next(iter(self.ranges))}=hub,…; or give the "
                "file 'hub: {url: wss://…}' for one that runs already, or 'backplane:' for one on each machine"
            )
            return
        if is_loopback(hub.host) or hub.port == 0:
            self.wrong.append(
                f"the hub of {self.hubs[0]!r} listens on {hub.host}, port {hub.port or 'any'}, where no other machine finds "
                "it: 'hub: {listen: 0.0.0.0:7700, tls: {cert: cert.pem, key: key.pem}}'"
            )
        if hub.key is None:
            self.wrong.append(
                "each machine makes the tokens of its own replicas, from a key that all have: 'hub: {key: \"${HUB_KEY}\"}'"
            )
        self.hub_url = f"{'ws' if hub.tls is None else 'wss'}://{_host(self.hubs[0])}:{hub.port}"

    # -- what is to be done

    def machines(self) -> list[Machine]:
        return [] if self.wrong else [self._machine(name) for name in self.ranges]

    def _machine(self, name: str) -> Machine:
        replicas = replicas_in(self.plan, self.ranges[name])
        words = tuple(written(replicas, self.plan))
        hub = name in self.hubs or (self.joined and bool(replicas))
        if not replicas:
            if not hub:
                self.wrong.append(f"machine {name!r} runs nothing")
            elif is_loopback(self.plan.hub.host) or self.plan.hub.port == 0:
                self.wrong.append(
                    f"machine {name!r} would have a hub that nobody reaches, on {self.plan.hub.host}, port "
                    f"{self.plan.hub.port or 'any'}: 'hub: {{listen: 0.0.0.0:7700, tls: {{cert: cert.pem, key: key.pem}}}}'"
                )
            return Machine(name, (), (), hub, False, self._hub_alone())
        other = None if hub or self.plan.hub.url is not None else self.hub_url
        part = self.plan
        if not self.alone:
            try:
                part = part_of(self.plan, only=words, hub=other)
            except NoSuchPart as error:
                self.wrong += [f"machine {name!r}: {sentence}" for sentence in error.sentences]
        command = ["orchestrator", "run", *self.files]
        if not self.alone:
            command += ["--only", ",".join(words)]
        if other is not None:
            command += ["--hub", other]
        return Machine(name, replicas, words, hub, part.serves_store, tuple(command))

    def _hub_alone(self) -> tuple[str, ...]:
        """Return the command for a machine with a hub and nothing else, whose keys are in a file."""
        hub = self.plan.hub
        command = ["orchestrator", "hub", "serve", "--listen", f"{_host(hub.host)}:{hub.port}", "--keys", KEY_FILE]
        if hub.tls is not None:
            command += ["--tls-cert", str(hub.tls[0]), "--tls-key", str(hub.tls[1])]
        if self.joined and hub.backplane is not None:
            open_to_all = "@" not in hub.backplane
            command += ["--backplane", hub.backplane] if open_to_all else ["--backplane-file", BACKPLANE_FILE]
        return tuple(command)


def _host(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def read_assignment(text: str) -> tuple[str, tuple[str, ...]]:
    """Read ``MACHINE=WORD,WORD``: what a machine is called, by which others reach it, and what it runs.

    Raises `NoRange` with a sentence.
    """
    name, equals, rest = text.partition("=")
    words = tuple(word.strip() for word in rest.split(","))
    if not equals or not re.fullmatch(r"[A-Za-z0-9._:-]+", name) or not all(words):
        raise NoRange(f"{text!r} places nothing: write MACHINE=AGENT,AGENT.1-4,hub")
    for word in words:
        read_range(word)
    return name, words
