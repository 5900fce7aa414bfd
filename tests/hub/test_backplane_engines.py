"""What is peculiar to an engine, or to the way to it: addresses, credentials, encryption, silence, clusters."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.hub.backplane import BackplaneProblem, Kind, Topic
from orchestrator.hub.engine_url import EngineUrl, read_url
from orchestrator.hub.joining import open_backplane
from orchestrator.hub.memory_bus import MemoryBus
from orchestrator.hub.nats_wire import NatsReader, NotNats
from orchestrator.hub.origins import STAMP, Origins
from tests.brokers import (
    Broker,
    nats_cluster,
    nats_server,
    needs_client,
    start_nats,
    start_valkey,
    valkey_server,
)
from tests.canary import CANARY
from tests.hub.backplane_ends import SAFE, Ear, OnServer, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.hub.backplane import Backplane

CERTIFICATE = Path(__file__).with_name("localhost.pem")
A = Topic(Kind.CHANNEL, "app", "a")


# -- addresses

PORTS = {"nats": 4222, "redis": 6379}


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("nats://one", EngineUrl("nats", (("one", 4222),))),
        ("NATS://one:1/", EngineUrl("nats", (("one", 1),))),
        ("redis://one/news%20room", EngineUrl("redis", (("one", 6379),), namespace="news room")),
        ("nats://one:1,two,[::1]:3/n", EngineUrl("nats", (("one", 1), ("two", 4222), ("::1", 3)), namespace="n")),
        ("nats://u:p%2C%2F%40@one:1,two", EngineUrl("nats", (("one", 1), ("two", 4222)), "u", "p,/@")),
        ("nats://tok@one", EngineUrl("nats", (("one", 4222),), "tok")),
        ("redis://:pw@one", EngineUrl("redis", (("one", 6379),), "", "pw")),
    ],
)
def test_addresses(url: str, read: EngineUrl) -> None:
    assert read_url(url, PORTS) == read


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nat://one", "nat:// is no backplane (did you mean 'nats'?); allowed are nats://, redis://"),
        ("one:4222", "the address of a backplane begins with one of nats://, redis://"),
        (f"nats://u:{CANARY}@:4/x", "':4' is no server of a backplane; an address looks like nats://127.0.0.1:4222/"),
        (f"nats://{CANARY}@one:x", "'one:x' is no server of a backplane"),
        ("nats://one,", "'' is no server of a backplane"),
        (f"nats://u:{CANARY}@one?tls=1", "the address of a backplane (nats://…) takes no options"),
        (f"nats://u:{CANARY}@one,v:w@two", "share their credentials"),
    ],
)
def test_addresses_that_are_none(url: str, sentence: str) -> None:
    with pytest.raises(BackplaneProblem) as problem:
        read_url(url, PORTS)
    assert sentence in str(problem.value)
    assert CANARY not in str(problem.value)


def test_an_address_shows_no_credentials() -> None:
    read = read_url(f"nats://{CANARY}:{CANARY}@one:1,two/n", PORTS)
    assert read.shown == "nats://one:1,two:4222"
    assert CANARY not in repr(read)


@pytest.mark.parametrize(("url", "package"), [("nats://one", "nats"), ("rediss://one", "hiredis")])
def test_a_missing_client_says_what_brings_it(monkeypatch: pytest.MonkeyPatch, url: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    extra = "nats" if package == "nats" else "redis"
    with pytest.raises(BackplaneProblem, match=rf"needs {package}: pip install 'topology-orchestrator\[{extra}\]'"):
        open_backplane(url, "n", Ear())


def test_files_of_nats_are_not_for_redis(tmp_path: Path) -> None:
    needs_client("hiredis", "redis[hiredis]")
    with pytest.raises(BackplaneProblem, match="are files of NATS"):
        open_backplane("redis://one", "n", Ear(), nkey=tmp_path)


def test_the_client_library_of_nats_speaks_by_what_it_is_given() -> None:
    """The one thing that we touch and that is not its public face; should it be gone, look at `_greet` and `_Seam`."""
    needs_client("nats", "nats-py")
    from nats.aio.client import Client

    assert "_transport" in vars(Client())


# -- who is let in


@pytest.mark.parametrize("scheme", ["nats", "redis"])
async def test_an_engine_that_is_not_there_is_given_up_in_time(scheme: str) -> None:
    needs_client("nats" if scheme == "nats" else "hiredis", scheme)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        started = asyncio.get_running_loop().time()
        with pytest.raises(BackplaneProblem, match=f"{scheme}://127.0.0.1:{port} could not be used for 0.3 s: "):
            async with open_backplane(f"{scheme}://u:{CANARY}@127.0.0.1:{port}/n", "n", Ear(), patience=0.3):
                pytest.fail("nobody is there")
        assert asyncio.get_running_loop().time() - started < 2


@pytest.mark.parametrize(
    ("scheme", "said"),
    [
        ("nats", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("nats", b"INFO null\r\n"),
        ("nats", b"INFO []\r\n"),
        ("redis", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("redis", b":1\r\n"),
        ("redis", b"%1\r\n$4\r\nmode\r\n:1\r\n"),
    ],
)
async def test_what_is_no_engine_is_told(scheme: str, said: bytes) -> None:
    needs_client("nats" if scheme == "nats" else "hiredis", scheme)

    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BackplaneProblem, match="could not be used"):
            async with open_backplane(f"{scheme}://127.0.0.1:{port}", "n", Ear(), patience=0.2):
                pytest.fail("it is no engine")


@pytest.fixture(scope="module", params=["nats", "redis"])
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that lets in whoever knows the canary: any user, and under NATS also one without a name."""
    folder = tmp_path_factory.mktemp("guarded")
    if request.param == "nats":
        with nats_server(
            folder,
            config='authorization { users: [{ user: "hub", password: $PASSWORD }] }\n'.replace(
                "$PASSWORD", f'"{CANARY[::-1]}"'
            ),
        ) as broker:
            yield broker
    else:
        with valkey_server(
            folder, settings={"user": f"hub on >{CANARY[::-1]} ~* &* +@all", "requirepass": CANARY[::-1]}
        ) as broker:
            yield broker


@pytest.mark.parametrize("given", ["", f"hub:{CANARY}@", f"{CANARY}@", f"other:{CANARY}@"])
async def test_who_is_refused_hears_it_at_once(guarded: Broker, given: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"{guarded.scheme}://{given}127.0.0.1:{guarded.port}/n"
    backplane = open_backplane(url, "n", Ear())
    with pytest.raises(BackplaneProblem, match="refuses this hub: ") as problem:
        async with asyncio.timeout(5), backplane:
            pytest.fail("it let us in")
    shown = "".join(map(str, (problem.value, problem.value.__cause__, problem.value.__context__, backplane)))
    assert CANARY not in shown + caplog.text
    assert CANARY[::-1] not in shown + caplog.text


async def test_who_has_credentials_is_let_in(guarded: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ear = Ear()
    async with open_backplane(f"{guarded.scheme}://hub:{CANARY[::-1]}@127.0.0.1:{guarded.port}/n", "n", ear) as here:
        await settled(here, ear)
    assert CANARY[::-1] not in caplog.text


async def test_nats_takes_a_token(tmp_path: Path) -> None:
    with nats_server(tmp_path, config=f'authorization {{ token: "{CANARY[::-1]}" }}\n') as broker:
        ear = Ear()
        async with open_backplane(f"nats://{CANARY[::-1]}@127.0.0.1:{broker.port}", "n", ear) as here:
            await settled(here, ear)


async def test_nats_permits_by_the_name_that_everything_begins_with(tmp_path: Path) -> None:
    allowed = 'users: [{ user: "u", password: "p", permissions: { publish: "orchestrator.1.n.>", subscribe: "orchestrator.1.n.>" } }]'
    with nats_server(tmp_path, config=f"authorization {{ {allowed} }}\n") as broker:
        ear = Ear()
        async with open_backplane(f"nats://u:p@127.0.0.1:{broker.port}/n", "n", ear) as here:
            here.listen(A)
            await settled(here, ear)
            here.ask(Topic(Kind.PEER, "app", "p"), b"x", 1)
            await ear.until(lambda: ear.unheard == [1])
        with pytest.raises(BackplaneProblem, match="refuses this hub: Permissions Violation"):
            async with open_backplane(f"nats://u:p@127.0.0.1:{broker.port}/other", "n", ear):
                pytest.fail("it is another namespace")


async def test_a_subscription_that_nats_does_not_take_is_no_silence(tmp_path: Path) -> None:
    with nats_server(tmp_path, config="max_subscriptions: 6\n") as broker:
        ear = Ear()
        async with open_backplane(broker.url, "n", ear) as here:
            for number in range(8):
                here.listen(Topic(Kind.CHANNEL, "app", str(number)))
            await ear.until(lambda: bool(ear.turns))
            assert not ear.turns[0].up and "maximum subscriptions exceeded" in ear.turns[0].why.lower()


# -- encryption


async def test_nats_encrypts(tmp_path: Path) -> None:
    with nats_server(tmp_path, config=f'tls {{ cert_file: "{CERTIFICATE}", key_file: "{CERTIFICATE}" }}\n') as broker:
        await _speaks(f"tls://localhost:{broker.port}")
        with pytest.raises(BackplaneProblem, match="has no certificate that is trusted here: self"):
            async with open_backplane(f"tls://localhost:{broker.port}", "n", Ear()):
                pytest.fail("nobody has signed it")


async def test_redis_encrypts(tmp_path: Path) -> None:
    with valkey_server(tmp_path) as broker:  # it comes without encryption
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE)

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            onward, behind = await asyncio.open_connection("127.0.0.1", broker.port)
            await asyncio.gather(_copied(reader, behind), _copied(onward, writer))

        async with await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context) as server:
            url = f"rediss://localhost:{server.sockets[0].getsockname()[1]}"
            await _speaks(url)
            with pytest.raises(BackplaneProblem, match="has no certificate that is trusted here: self"):
                async with open_backplane(url, "n", Ear()):
                    pytest.fail("nobody has signed it")


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def _speaks(url: str) -> None:
    ear = Ear()
    async with (
        open_backplane(url, "a", Ear(), ca=CERTIFICATE) as here,
        open_backplane(url, "b", ear, ca=CERTIFICATE) as there,
    ):
        there.listen(A)
        await settled(there, ear)
        message = bytes(range(256)) * 3000
        assert here.publish(A, message)
        await ear.has_heard(message)


async def test_no_password_goes_to_a_server_that_does_not_encrypt(tmp_path: Path) -> None:
    said = bytearray()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","max_payload":1048576}\r\n')
        said.extend(await reader.read())
        writer.close()
        done.set()

    done = asyncio.Event()
    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BackplaneProblem, match="does not encrypt"):
            async with open_backplane(f"tls://u:{CANARY}@127.0.0.1:{port}", "n", Ear()):
                pytest.fail("it is not encrypted")
        await done.wait()
    assert said == b""


# -- silence, and what comes of it


@pytest.mark.bars
@pytest.mark.parametrize("start", [start_nats, start_valkey])
async def test_an_engine_that_falls_silent_is_lost_and_nothing_overtakes_when_it_wakes(
    start: Callable[[Path], Broker], tmp_path: Path
) -> None:
    engine = OnServer(start(tmp_path))
    ear, far = Ear(), Ear()
    try:
        async with engine.end(ear) as here, engine.end(far) as there:
            there.listen(A)
            await settled(there, far)
            number, loop = 0, asyncio.get_running_loop()

            def say(count: int) -> None:
                nonlocal number
                for _ in range(count):
                    number += 1
                    here.publish(A, b"%08d" % number + bytes(300))

            say(1000)
            engine.broker.pause()
            paused = loop.time()
            say(5000)
            await ear.until(lambda: bool(ear.turns))
            assert 3 < loop.time() - paused < 6
            assert "has not answered" in ear.turns[0].why
            await far.until(lambda: bool(far.turns))
            engine.broker.resume()
            resumed = loop.time()
            await ear.until(lambda: here.up)
            say(20)
            await far.until(lambda: there.up)
            assert loop.time() - resumed < 5
            say(1000)
            last = b"%08d" % number + bytes(300)
            await far.has_heard(last)
            heard = list(far.once)
            assert heard == sorted(heard)
            assert heard[-1000:] == [b"%08d" % one + bytes(300) for one in range(number - 999, number + 1)]
    finally:
        engine.broker.resume()
        engine.kill()


@pytest.mark.bars
@pytest.mark.parametrize("start", [start_nats, start_valkey])
async def test_ten_restarts_and_every_topic_is_there_each_time(start: Callable[[Path], Broker], tmp_path: Path) -> None:
    engine = OnServer(start(tmp_path))
    ear, far = Ear(), Ear()
    async with engine.end(ear) as here, engine.end(far) as there:
        for number in range(20_000):
            there.listen(Topic(Kind.CHANNEL, "app", f"c/{number}"))
        await settled(there, far)
        for turn in range(1, 11):
            engine.kill()
            await ear.turned_times(2 * turn - 1)
            await far.turned_times(2 * turn - 1)
            engine.start_again()
            await ear.turned_times(2 * turn)
            await far.turned_times(2 * turn)
            for number in range(0, 20_000, 1000):
                assert here.ask(Topic(Kind.CHANNEL, "app", f"c/{number}"), b"%d" % number, number)
            await far.has_heard(b"19000")
        assert ear.unheard == []
    engine.kill()


async def test_hubs_of_a_cluster_of_nats_hear_one_another_and_go_to_the_servers_that_are_left(tmp_path: Path) -> None:
    with nats_cluster(tmp_path) as servers:
        ear, far = Ear(), Ear()
        async with (
            open_backplane(f"{servers[0].url}/n", "a", ear) as here,  # it learns of the others
            open_backplane(f"{servers[1].url},127.0.0.1:{servers[2].port}/n", "b", far) as there,
        ):
            there.listen(A)
            await _until_heard(here, ear, far)
            servers[0].kill()
            await ear.until(lambda: len(ear.turns) == 2)
            assert here.up
            await _until_heard(here, ear, far)


async def _until_heard(here: Backplane, ear: Ear, far: Ear) -> None:
    """A subscription takes its time from server to server; whoever asks too early is told that nobody is there."""
    async with asyncio.timeout(SAFE):
        for ticket in itertools.count(len(ear.unheard)):
            here.ask(A, b"%d" % ticket, ticket)
            await settled(here, ear)
            if ticket not in ear.unheard:
                await far.has_heard(b"%d" % ticket)
                return


# -- what NATS says


class Told:
    def __init__(self) -> None:
        self.all: list[tuple[str, object]] = []

    def heard(self, message: bytes) -> None:
        self.all.append(("heard", message))

    def pong(self) -> None:
        self.all.append(("pong", None))

    def ping(self) -> None:
        self.all.append(("ping", None))

    def status(self, subject: bytes) -> None:
        self.all.append(("status", subject))

    def error(self, text: str) -> None:
        self.all.append(("error", text))

    def info(self, line: bytes) -> None:
        self.all.append(("info", line))


_payloads = st.binary(max_size=40) | st.sampled_from([b"\r\n", b"MSG a 1 3\r\n", b"PING\r\n"])
_said = st.one_of(
    st.builds(lambda data: (b"MSG a.b 12 %d\r\n%b\r\n" % (len(data), data), ("heard", data)), _payloads),
    st.builds(lambda data: (b"MSG a.b 12 r.1 %d\r\n%b\r\n" % (len(data), data), ("heard", data)), _payloads),
    st.builds(
        lambda data: (b"HMSG a 1 12 %d\r\nNATS/1.0\r\n\r\n%b\r\n" % (len(data) + 12, data), ("heard", data)), _payloads
    ),
    st.just((b"HMSG r.7 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n", ("status", b"r.7"))),
    st.just((b"PONG\r\n", ("pong", None))),
    st.just((b"PING\r\n", ("ping", None))),
    st.just((b"-ERR 'Slow Consumer'\r\n", ("error", "Slow Consumer"))),
    st.just((b'INFO {"a":1} \r\n', ("info", b'{"a":1} '))),
)


@settings(deadline=None)
@given(st.lists(_said, max_size=8), st.lists(st.integers(0, 300), max_size=12))
def test_however_what_nats_says_is_cut_the_same_is_told(said: list[tuple[bytes, Any]], cuts: list[int]) -> None:
    data = b"".join(part for part, _ in said)
    told = Told()
    reader = NatsReader(told.heard, told)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in itertools.pairwise(edges):
        reader.feed(data[start:end])
    assert told.all == [what for _, what in said]


@pytest.mark.parametrize("data", [b"HTTP/1.1 200 OK\r\n", b"x" * 70_000])
def test_what_nats_never_says(data: bytes) -> None:
    told = Told()
    with pytest.raises(NotNats):
        NatsReader(told.heard, told).feed(data)


# -- of which connection a message comes


def test_what_comes_late_by_an_earlier_connection_is_passed_over() -> None:
    hub, other = Origins(), Origins()
    first, second = hub.stamp(), hub.stamp()
    assert len(first) == len(second) == STAMP
    assert other.takes(first)
    assert other.takes(first)
    assert other.takes(second)
    assert not other.takes(first)
    assert other.takes(second)
    assert not hub.takes(second), "its own"


def test_what_has_no_stamp_is_passed_over() -> None:
    assert not Origins().takes(b"short")


def test_only_so_many_ends_are_remembered() -> None:
    origins, first = Origins(), Origins()
    early, late = first.stamp(), first.stamp()
    assert origins.takes(late)
    assert not origins.takes(early)
    for _ in range(5000):
        assert origins.takes(Origins().stamp())
    assert origins.takes(early)


# -- memory, by hand


async def test_islands_of_a_bus_do_not_hear_one_another() -> None:
    bus = MemoryBus()
    ears = [Ear(), Ear(), Ear()]
    async with bus.end(ears[0]) as one, bus.end(ears[1]) as two, bus.end(ears[2]) as three:
        two.listen(A)
        three.listen(A)
        bus.split([one, two], [three])
        assert one.publish(A, b"in the island")
        assert ears[1].messages == [], "nothing is done before it is stepped"
        bus.pump()
        bus.heal()
        one.ask(A, b"all", 1)
        bus.pump()
        bus.split([one], [two, three])
        one.ask(A, b"alone", 2)
        bus.pump()
        bus.heal()
        bus.away(two)
        assert not two.publish(A, b"lost")
        one.publish(A, b"two is away")
        bus.pump()
        bus.back(two)
    assert [ear.messages for ear in ears] == [[], [b"in the island", b"all"], [b"all", b"two is away"]]
    assert ears[0].unheard == [2]
    assert [turn.up for turn in ears[1].turns] == [False, True]
