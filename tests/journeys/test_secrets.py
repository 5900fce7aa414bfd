"""Hazards 44, 45, 48 and 64: through every way in which a run fails, at its most talkative, no key and no token shows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.protocol.tokens import Claims, SecretKey, mint
from orchestrator.runtime.environment import ALLOWED
from orchestrator.runtime.user import connect
from orchestrator.topology.load import load_topology
from orchestrator.topology.plan import Plan, make_plan
from tests.canary import CANARY, Finding, Folders, found, found_in_text
from tests.hub.sockets import TEXT, frame, raw, upgrade
from tests.journeys.running import Record, Running, descendants, running, who
from tests.runtime.processes import gone

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at as Linux shows them"),
]

KEY = SecretKey("sk_id_canary", f"sk_secret_{secrets.token_hex(32)}")
STRANGER = SecretKey(KEY.id, f"sk_secret_{secrets.token_hex(32)}")
ENVIRON = {"PYTHON_CANARY_KEY": f"{KEY.id}:{KEY.secret}", "CANARY_STORE": "sqlite:///tasks.db", "PLAIN": "inherited"}
WITHHELD = (b"PYTHON_CANARY_KEY=", b"CANARY_STORE=", b"ORCHESTRATOR_CANARY=")
PAUSE = 0.05
"""Seconds between two looks at all processes and files."""

HEAD = """\
version: 1
hub: {key: '${PYTHON_CANARY_KEY}'}
store: ${CANARY_STORE}
coordinators:
  boss: {handler: tests.journeys.spilling:Boss, workers: [raiser]}
workers:
  raiser: {handler: tests.journeys.spilling:Raiser, tasks: {delivery: at-least-once, max_attempts: 1}}
"""
TOPOLOGY = f"""\
{HEAD}\
agents:
  teller: {{handler: tests.journeys.spilling:Teller}}
  narrow: {{handler: tests.journeys.spilling:Teller, inherit_environment: false}}
  replaced: {{handler: tests.journeys.spilling:Victim}}
  killed: {{handler: tests.journeys.spilling:Victim, restart: {{condition: on-failure, delay: 100ms}}}}
  aborted: {{handler: tests.journeys.spilling:Victim}}
  misfit: {{handler: tests.journeys.spilling:Misfit}}
  unready: {{handler: tests.journeys.spilling:Unready}}
  babbler: {{handler: tests.journeys.spilling:Babbler}}
  late: {{handler: late:Late}}
  missing: {{command: [./missing, --help], handles: []}}
  stubborn: {{command: [sh, -c, 'trap "" TERM; echo deaf; sleep 600 & wait; sleep 600'], handles: []}}
defaults: {{restart: {{condition: never}}}}
"""
LATE = """\
import pathlib
from orchestrator import agent
from tests.journeys.spilling import signed
seen = pathlib.Path(__file__).with_name("seen")
token = signed()
if seen.exists():
    raise ImportError("a library is not installed")
seen.touch()
@agent
class Late: ...
"""
"""A module that can be looked at before the run, and not imported by its agent's process."""


@dataclass
class Seen:
    """What others could see of a run while it went on."""

    findings: set[Finding] = field(default_factory=set)
    environments: dict[int, bytes] = field(default_factory=dict)
    """Of each process, the last one."""
    cores: dict[int, str] = field(default_factory=dict)
    """Of each process of ours, the limit of what it leaves of its memory when it crashes."""
    tokens: set[tuple[int, int]] = field(default_factory=set)
    """The modes of the files that tokens were in, and of their folders."""
    operators: set[int] = field(default_factory=set)
    """The modes of the files that the secret of the store's operator was in."""


class Looking:
    """Looks at the processes and files of a run, again and again."""

    def __init__(self, run: Running, directory: Path, *, at_parent: bool) -> None:
        self._run, self._directory, self._at_parent = run, directory, at_parent
        self._folders = Folders()
        self._own = _read(run.pid, "cmdline")
        self.seen = Seen()

    async def look(self) -> None:
        while True:
            self.once()
            await asyncio.sleep(PAUSE)

    def once(self) -> None:
        for file in self._directory.rglob("operator"):
            with contextlib.suppress(FileNotFoundError):
                self.seen.operators.add(stat.S_IMODE(file.stat().st_mode))
        for file in self._directory.rglob("token"):
            with contextlib.suppress(FileNotFoundError):
                modes = file.stat().st_mode, file.parent.stat().st_mode
                self.seen.tokens.add((stat.S_IMODE(modes[0]), stat.S_IMODE(modes[1])))
        self.seen.findings.update(self._folders.found(self._directory))
        for pid in [*descendants(self._run.pid), *([self._run.pid] if self._at_parent else [])]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self._look_at(pid)

    def _look_at(self, pid: int) -> None:
        words, environment = _read(pid, "cmdline"), _read(pid, "environ")
        if pid != self._run.pid and words == self._own:
            return  # forked a moment ago: what is shown is still the run's own
        self.seen.environments[pid] = environment
        if b"orchestrator" in words:
            limit = next(line for line in _read(pid, "limits").splitlines() if line.startswith(b"Max core file size"))
            self.seen.cores[pid] = limit.split()[4].decode()
        for name, data in (("cmdline", words), ("environ", environment)):
            self.seen.findings.update(found(data, f"{name} of {words[:80]!r}"))
        if pid == self._run.pid:
            return  # what is withheld from the others is what it was given
        withheld = [item for item in WITHHELD if environment.startswith(item) or b"\0" + item in environment]
        self.seen.findings.update(Finding("a variable", f"environ of {words[:80]!r}", str(item)) for item in withheld)


def _read(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


@dataclass
class Place:
    """Where a run's files lie."""

    directory: Path
    private: Path
    temporary: Path

    @property
    def topology(self) -> Path:
        return self.directory / "canary.yaml"

    @property
    def left(self) -> list[Path]:
        return [*self.private.iterdir(), *self.temporary.iterdir()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(*(tmp_path / name for name in ("desk", "private", "temporary")))
    for folder in (found.directory, found.private, found.temporary):
        folder.mkdir(0o700)
    (found.directory / "late.py").write_text(LATE)
    found.topology.write_text(TOPOLOGY)
    return found


@asynccontextmanager
async def spilling(place: Place, *more: str, environ: dict[str, str] | None = None) -> AsyncIterator[Running]:
    given = ENVIRON if environ is None else environ
    where = {"XDG_RUNTIME_DIR": str(place.private), "TMPDIR": str(place.temporary), "ORCHESTRATOR_CANARY": "x"}
    words = (place.topology.name, "--log-level", "debug", *more)
    async with running(*words, directory=place.directory, environ={**given, **where}) as run:
        yield run


@asynccontextmanager
async def looked_at(run: Running, place: Place, *, at_parent: bool = False) -> AsyncIterator[Seen]:
    looking = Looking(run, place.directory.parent, at_parent=at_parent)
    task = asyncio.create_task(looking.look())
    try:
        yield looking.seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def planned(place: Place) -> Plan:
    return make_plan(load_topology(place.topology, ENVIRON), None)


def about(name: str, *parts: str) -> Callable[[Record], bool]:
    return lambda record: who(record) == name and all(part in record["event"] for part in parts)


async def answers(url: str, token: str) -> bytes:
    """Return what a hub answers to credentials that are wrong, or in the wrong place."""
    pair, forged = f"{KEY.id}:{KEY.secret}", mint(STRANGER, Claims(sub="cli", exp=int(time.time()) + 600))
    evil = "Origin: https://evil.example"
    sent = [upgrade(f"/v1?token={bad}") for bad in (f"{token}x", token[:-4], forged, KEY.secret, pair)]
    sent += [upgrade(f"/v1?token={token}&token={token}"), upgrade("/v1", evil, f"Cookie: token={token}")]
    sent += [upgrade(f"/v1?token={token}") + frame(TEXT, f'{{"type": "{token}"'.encode())]
    for path in ("/v1/usage", f"/v1/{pair}", f"/healthz?token={token}", "/readyz", "/metrics"):
        for more in (f"Authorization: Bearer {pair}x", f"Authorization: Bearer {token}", evil, f"Cookie: key={pair}"):
            sent.append(f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n\r\n".encode())
    sent.append(f"GET /v1/usage HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {pair}\r\n{evil}\r\n\r\n".encode())
    return b"".join(await asyncio.gather(*(_answer(url, data) for data in sent)))


async def _answer(url: str, data: bytes) -> bytes:
    """Return all that comes until the hub has closed the connection, at our end of it or before."""
    answer = b""
    async with raw(url) as connection, asyncio.timeout(10):
        connection.send(data)
        while more := await connection.reader.read(65_536):
            answer += more
            if b" 101 " not in answer[:20] or b"welcome" in answer or b"\x88" in answer:
                connection.writer.write_eof()  # nothing else is to be expected
    return answer


async def ask(url: str, plan: Plan, text: str) -> str:
    token = mint(KEY, plan.user("cli").claims("journey", int(time.time()) + 600))
    async with connect(url, token=token) as user:
        async with aclosing(cast("Any", user.stream("boss", text))) as answer:
            return "".join([part async for part in answer])


async def replace(url: str, plan: Plan, name: str, run: Running) -> None:
    """Take the place of an agent at the hub, which closes its connection for good."""
    [replica] = plan.replicas_of(name)
    token = mint(KEY, replica.claims(exp=int(time.time()) + 600, instance="another"))
    async with raw(url) as connection:
        connection.send(upgrade(f"/v1?token={token}"))
        await run.until(about(name, "has failed for good"))


async def crash(run: Running, name: str, number: signal.Signals) -> None:
    """Kill a process, and wait until another one has taken its place."""
    before = len(run.records)
    os.kill(run.pids()[name], number)
    await run.until(lambda record: record["event"] == "ready" and who(record) == name, after=before)


@pytest.fixture
def cores() -> Iterator[None]:
    """Have the system allow core dumps, as some do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


async def test_nothing_that_fails_in_a_run_shows_a_key_or_a_token(place: Place) -> None:
    async with spilling(place) as run, looked_at(run, place) as seen:
        plan = planned(place)
        await run.until(lambda record: "are ready" in record["event"])
        url = (await run.until(about("hub", "ready")))["url"]
        token = mint(KEY, plan.user("cli").claims("journey", int(time.time()) + 600))
        told = await answers(url, token)
        assert "no luck today" in await ask(url, plan, "spill")
        await replace(url, plan, "replaced", run)
        os.kill(run.pids()["aborted"], signal.SIGABRT)
        await run.until(about("aborted", "has failed for good"))
        await crash(run, "killed", signal.SIGKILL)
        await crash(run, "store", signal.SIGABRT)
        await crash(run, "hub", signal.SIGKILL)
        await crash(run, "hub", signal.SIGABRT)
        left = descendants(run.pid)
        for said in ("SIGINT: ending in peace", "SIGINT again"):
            run.process.send_signal(signal.SIGINT)
            await run.until(lambda record, said=said: said in record["event"])  # type: ignore[misc]
        assert await run.ended() != 0
        for pid in left:
            await gone(pid)
    assert found_in_text(run.said() + run.answer, "the log") == []
    assert found(told, "an answer of the hub") == []
    assert sorted(map(str, seen.findings)) == []
    assert seen.tokens == {(0o600, 0o700)}
    assert seen.operators == {0o600}
    assert place.left == []
    for part in ("Fatal Python error", "no luck today", "nothing is there", "a library is not installed"):
        assert part in run.said()
    for status in (b" 401 ", b" 403 ", b" 404 ", b"\x0f\xa1"):
        assert status in told, status
    assert b"access-control" not in told.lower()
    told_by = {who(record): record["environ"].keys() for record in run.with_event("my environment")}
    assert "PLAIN" in told_by["teller"]
    assert {name for name in told_by["narrow"] if not name.startswith("LC_")} <= ALLOWED | {"ORCHESTRATOR_PEER_ID"}
    assert not {"PYTHON_CANARY_KEY", "CANARY_STORE", "ORCHESTRATOR_CANARY"} & (told_by["teller"] | told_by["narrow"])


@pytest.mark.bars
async def test_a_key_from_a_file_is_shown_by_nobody_and_is_in_no_core_dump(place: Place, cores: None) -> None:
    """Not even by the run itself, which knows it."""
    file = place.directory / ".env"
    file.touch(0o600)
    file.write_text("".join(f"{name}={value}\n" for name, value in ENVIRON.items()))
    place.topology.write_text(HEAD)
    async with (
        spilling(place, "--ask", "boss", "spill", environ={}) as run,
        looked_at(run, place, at_parent=True) as seen,
    ):
        assert await run.ended() == 0, run.said()
    assert "no luck today" in run.answer
    assert found_in_text(run.said() + run.answer, "the log") == []
    assert sorted(map(str, seen.findings)) == []
    assert run.pid in seen.environments and len(seen.environments) >= 5
    assert run.pid in seen.cores and len(seen.cores) >= 5
    assert set(seen.cores.values()) == {"0"}, "all of them know keys or tokens"
    assert place.left == []


@pytest.mark.parametrize(
    ("change", "environ", "words", "said"),
    [
        ("", {}, ("--ask", "nobody", "spill"), "there is no agent 'nobody'"),
        ("", {"CANARY_STORE": f"redis://:{CANARY}@127.0.0.1:1/0"}, (), "the store redis://127.0.0.1:1/0 cannot be"),
        ("", {"CANARY_STORE": f"nothing://me:{CANARY}@127.0.0.1/0"}, (), "store: "),
        ("", {"PYTHON_CANARY_KEY": CANARY}, (), "hub.key: a key is a pair"),
        ("", {"PYTHON_CANARY_KEY": f"{KEY.secret}:{KEY.id}"}, (), "hub.key: a key is a pair"),
        ("agents: {late: {handler: 'late:Late'}}\n", {}, (), "a library is not installed"),
        (f"agents: {{one: {{handler: 'late:Late', environment: {{A: {STRANGER.secret}}}}}}}\n", {}, (), "ORC108"),
    ],
    ids=[
        "nobody asked",
        "a store that is away",
        "no store",
        "no key",
        "the wrong way round",
        "no import",
        "in the file",
    ],
)
async def test_what_does_not_even_start_shows_no_secret(
    place: Place, change: str, environ: dict[str, str], words: tuple[str, ...], said: str
) -> None:
    (place.directory / "seen").touch()
    place.topology.chmod(0o600)  # in one case it holds a secret
    place.topology.write_text(HEAD + change)
    async with spilling(place, *words, environ={**ENVIRON, **environ}) as run:
        assert await run.ended() in (2, 3, 5)
    assert said in run.said()
    assert not run.with_event("ready")
    assert found_in_text(run.said() + run.answer, "the log") == []


@pytest.mark.bars
async def test_a_store_that_cannot_be_used_is_named_without_a_token(place: Place) -> None:
    """Its file is none of SQLite's: everything that asks for it is told so."""
    (place.directory / "tasks.db").write_bytes(b"no database" * 1000)
    place.topology.write_text(HEAD)
    async with spilling(place, "--ask", "boss", "spill", "--timeout", "1") as run, looked_at(run, place) as seen:
        assert await run.ended() != 0 or "StoreUnavailable" in run.answer
    assert "tasks.db" in run.said()
    assert found_in_text(run.said() + run.answer, "the log") == []
    assert sorted(map(str, seen.findings)) == []


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "'[::]:0'"])
async def test_hazard_48_no_run_opens_its_hub_to_other_machines_without_tls(place: Place, listen: str) -> None:
    place.topology.write_text(HEAD.replace("hub: {", f"hub: {{listen: {listen}, "))
    async with spilling(place) as run:
        assert await run.ended() == 3
    assert "beyond this machine a hub needs TLS" in run.said()
    assert not run.with_event("ready")
