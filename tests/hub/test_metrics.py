"""``GET /metrics``: what is told, to whom, and that it stays short whoever connects."""

from __future__ import annotations

import asyncio
import random
import sys
import time
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as old_families

from orchestrator.hub import key_file, loop_lag
from orchestrator.hub.agent_figures import MAX_AGENTS, MAX_TASKS_OF_ALL, by_agent
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.listening import listen, parse_address
from orchestrator.hub.loop_lag import LoopLag
from orchestrator.hub.metrics import ClusterReading, RunReading, read_figures
from orchestrator.hub.metrics_text import write
from orchestrator.hub.server import Server
from orchestrator.hub.settings import Settings
from orchestrator.protocol.codes import CloseCode
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from orchestrator.runtime.control import BUCKETS, ReplicaFigures
from tests.hub.rest_client import Api, Reply
from tests.hub.rig import Rig
from tests.hub.sockets import KEY, on_both_loops, raw, raw_peer, token, upgrade
from tests.hub.test_command import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

pytestmark = pytest.mark.one_hub("each hub tells its own figures")
ROOT = Path(__file__).parents[2]
NO_LAG = LoopLag().counts, 0.0


class ARun:
    """A run whose figures are those of a test; `None` = it does not answer."""

    bounds: Sequence[float] = BUCKETS

    def __init__(self, *told: ReplicaFigures) -> None:
        self.told: Sequence[ReplicaFigures] | None = told

    async def figures(self) -> Sequence[ReplicaFigures] | None:
        return self.told


@asynccontextmanager
async def metrics(settings: Settings | None = None, keys: KeyRing | None = None) -> AsyncIterator[Api]:
    server = Server(keys or KeyRing([KEY]), settings or Settings(drain_grace=0.2))
    await server.start(listen(parse_address("127.0.0.1:0")))
    try:
        async with ClientSession(auto_decompress=False) as session:
            yield Api(server, session)
    finally:
        await server.cut()


async def scraped(
    api: Api, host: str = "localhost", key: SecretKey | None = None, headers: dict[str, str] | None = None
) -> Reply:
    return await api.ask("GET", "/metrics", None, key, {"Host": host, **(headers or {})})


def families(text: str) -> list[Any]:
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]  # it has no types


def ordered(labels: Iterable[str]) -> list[str]:
    """Return labels from what is the largest to what is a part of it."""
    return sorted(
        labels, key=("agent", "task", "outcome", "event", "route", "status", "kind", "code", "cause", "le").index
    )


def figures(text: str) -> dict[str, float]:
    """Return each line's value by its name and the values of its labels, as in ``closes_total 4001``."""
    return {
        " ".join(
            (sample.name.removeprefix("orchestrator_"), *(sample.labels[label] for label in ordered(sample.labels)))
        ): sample.value
        for family in families(text)
        for sample in family.samples
    }


async def now(api: Api) -> dict[str, float]:
    reply = await scraped(api)
    assert reply.status == 200
    return figures(reply.raw.decode())


def of_core(rig: Rig, run: RunReading | None = None) -> str:
    return write(read_figures(rig.hub, (tuple(NO_LAG[0]), 0.0), run))[0].decode()


# -- what is told


def test_what_a_hub_has_done_is_counted_as_it_was() -> None:
    rig = Rig()
    a, b, c = (rig.connect(name) for name in "abc")
    for peer in (b, c):
        peer.join("x")
    a.send({"type": "publish", "channel": "x", "data": 1})
    a.send({"type": "publish", "channel": "nobody/is/here", "data": 1})
    a.send({"type": "send", "to": "b", "data": 1})
    a.send({"type": "send", "to": "nobody", "data": 1})
    a.send({"type": "ping"})
    a.send(b"nonsense")
    b.ask("unsubscribe", channel="x")
    b.leave()
    rig.hub.kick("default", "c", rig.now)
    rig.flush()
    told = figures(of_core(rig))
    wanted = {
        "connections": 1,
        "subscriptions": 0,
        "connects_total": 3,
        "closes_total client": 1,
        "closes_total 4020": 1,
        "received_total publish": 2,
        "received_total send": 2,
        "received_total subscribe": 2,
        "received_total unsubscribe": 1,
        "received_total ping": 1,
        "deliveries_total message": 2,
        "deliveries_total direct": 1,
        "errors_total peer_not_found": 1,
        "errors_total malformed_message": 1,
        "fan_out_count": 2,
        "fan_out_sum": 2,
        "fan_out_bucket 0.0": 1,
        "fan_out_bucket 1.0": 1,
        "fan_out_bucket 3.0": 2,
        "slow_consumer_closes_total": 0,
    }
    assert {name: told.get(name) for name in wanted} == wanted
    presences = [frame for peer in (a, b, c) for frame in peer.all() if frame["type"] == "presence"]
    assert told["deliveries_total presence"] == len(presences) > 2


def test_readers_that_lag_and_those_that_are_given_up_are_seen() -> None:
    rig = Rig(Settings(outbox_bytes=10_000))
    a, slow = rig.connect("a"), rig.connect("slow")
    assert slow.connection is not None
    slow.outbox.take(rig.now)
    rig.hub.stalled(slow.connection, 100, rig.now)
    for _ in range(3):
        a.send({"type": "send", "to": "slow", "data": "x" * 1_000})
    told = figures(of_core(rig))
    assert 3_000 < told["outbox_bytes"] < 4_000
    assert told["outbox_bytes"] == told["outbox_bytes_max"]
    for _ in range(10):
        a.send({"type": "send", "to": "slow", "data": "x" * 1_000})
    told = figures(of_core(rig))
    assert (told["slow_consumer_closes_total"], told["closes_total 1008"], told["connections"]) == (1, 1, 1)


@on_both_loops
async def test_who_is_not_let_in_is_counted_by_cause() -> None:
    key = SecretKey("sk_id_other", "sk_secret_" + "o" * 32)
    async with metrics(Settings(drain_grace=0.2, max_connections=1)) as api, raw_peer(api.hub.url, "a"):
        for query, code in (
            (f"token={token('a', life=-5)}", CloseCode.TOKEN_EXPIRED),
            (f"token={mint(key, Claims('a', 2**33))}", CloseCode.INVALID_TOKEN),
            (f"token={token('a')[:-1]}A", CloseCode.INVALID_TOKEN),
            ("token=nonsense", CloseCode.INVALID_TOKEN),
            ("", CloseCode.INVALID_TOKEN),
            ("key=nobody", CloseCode.INVALID_TOKEN),
            (f"token={token('b')}", CloseCode.OVER_CONCURRENT_LIMIT),
        ):
            async with raw(api.hub.url) as connection:
                connection.send(upgrade(f"/v1?{query}"))
                assert (await connection.head())[0] == 101
                assert await connection.close_code() == code
        assert (await api.ask("GET", "/v1/usage", key=key)).status == 401
        assert (await scraped(api, headers={"Origin": "https://evil.example"})).status == 403
        told = await now(api)
        refusals = {name.partition(" ")[2]: value for name, value in told.items() if name.startswith("refusals_total")}
        assert refusals.pop("signature") + refusals.pop("malformed", 0) == 2
        assert refusals == {
            "expired": 1,
            "unknown key": 1,
            "no credential": 1,
            "publishable key": 1,
            "full": 1,
            "secret key": 1,
            "page": 1,
        }
        assert (told["http_requests_total usage 4xx"], told["http_requests_total metrics 4xx"]) == (1, 1)
        assert told["connections"] == 1


RUN = (
    ReplicaFigures(
        "helper",
        "helper.1",
        restarts=2,
        inflight=3,
        capacity=4,
        counts={
            "tasks/Look/done": 5,
            "tasks/Look/failed": 1,
            "chunks": 7,
            "reconnects": 1,
            "claims/won": 2,
            "claims/lost": 1,
            "events/seen": 9,
        },
        seconds={"Look": (1, 2) + (0,) * 12 + (3,)},
        total_seconds={"Look": 901.5},
    ),
    ReplicaFigures("helper", "helper.2", inflight=1, capacity=4, counts={"tasks/Look/done": 1, "tasks/a/b/done": 1}),
    ReplicaFigures("boss", "boss"),
)


@on_both_loops
async def test_what_the_replicas_of_a_run_have_done_is_told_by_agent() -> None:
    async with metrics() as api:
        assert not [name for name in await now(api) if name.startswith("run_")]
        run = api.hub.run_figures = ARun(*RUN)
        told = await now(api)
        wanted = {
            "run_answers": 1,
            "tasks_total helper Look done": 6,
            "tasks_total helper Look failed": 1,
            "tasks_total helper a/b done": 1,
            "tasks_in_flight helper": 4,
            "task_capacity helper": 8,
            "stream_chunks_total helper": 7,
            "stream_chunks_total boss": 0,
            "reconnects_total helper": 1,
            "restarts_total helper": 2,
            "claims_total helper won": 2,
            "claims_total helper lost": 1,
            "agent_events_total helper events": 9,
            "task_seconds_bucket helper Look 0.005": 1,
            "task_seconds_bucket helper Look 0.01": 3,
            "task_seconds_bucket helper Look 300.0": 3,
            "task_seconds_bucket helper Look +Inf": 6,
            "task_seconds_count helper Look": 6,
            "task_seconds_sum helper Look": 901.5,
        }
        assert {name: told.get(name) for name in wanted} == wanted
        assert not [name for name in told if "helper.1" in name]
        run.told = None
        told = await now(api)
        assert told["run_answers"] == 0
        assert not [name for name in told if name.startswith("task")]


def hold_up_the_loop(seconds: float) -> None:
    time.sleep(seconds)


async def test_how_late_the_loop_is_is_looked_at_as_long_as_somebody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_lag, "_STEP", 0.01)
    lag, loop, after = LoopLag(), asyncio.get_running_loop(), asyncio.Event()
    assert not lag.looks
    assert sum(lag.read(loop)[0]) == 0
    loop.call_later(0.012, after.set)
    hold_up_the_loop(0.03)
    await after.wait()
    counts, total = lag.read(loop)
    assert sum(counts[:4]) == 0 and sum(counts[4:]) == 1 and total > 0.015
    monkeypatch.setattr(loop_lag, "_KEPT", 0.0)
    lag.read(loop)
    after.clear()
    loop.call_later(0.03, after.set)
    await after.wait()
    assert not lag.looks
    lag.read(loop)
    lag.stop()
    assert not lag.looks


# -- how much


NAMES = st.text(max_size=200)


@given(
    st.lists(
        st.builds(
            ReplicaFigures,
            NAMES,
            NAMES,
            counts=st.dictionaries(
                NAMES | st.builds("tasks/{}/{}".format, NAMES, NAMES), st.integers(0, 9), max_size=4
            ),
            seconds=st.dictionaries(NAMES, st.lists(st.integers(0, 9), max_size=20).map(tuple), max_size=3),
        ),
        max_size=6,
    )
)
@settings(max_examples=60, deadline=None)
def test_names_of_any_kind_make_a_text_that_can_be_read(told: list[ReplicaFigures]) -> None:
    text = of_core(Rig(), RunReading(by_agent(told), BUCKETS))
    counted = sum(sum(one.counts.values()) for one in told)
    read = figures(text)
    kinds = ("tasks_total", "stream_chunks_total", "reconnects_total", "claims_total", "agent_events_total")
    assert sum(value for name, value in read.items() if name.partition(" ")[0] in kinds) == counted


def test_names_of_peers_and_channels_are_not_told_however_many_there_are() -> None:
    rig, rng = Rig(Settings(snapshot_gap=0.0)), random.Random(48)
    before = of_core(rig)
    peers = []
    for number in range(5_000):
        peer = rig.connect(f"peer-{uuid.UUID(int=rng.getrandbits(128))}", instance=f"i{number}")
        peer.send({"type": "subscribe", "channel": f"channel-{rng.getrandbits(64):x}"})
        peer.send({"type": "publish", "channel": f"channel-{rng.getrandbits(64):x}", "data": 1})
        peer.send({"type": f"kind-{rng.getrandbits(64):x}"})
        peers.append(peer)
    for number, peer in enumerate(peers):
        if number % 2:
            peer.leave()
    after = of_core(rig)
    assert figures(after)["connects_total"] == 5_000
    assert "peer-" not in after and "channel-" not in after and "kind-" not in after
    assert len(after.splitlines()) < len(before.splitlines()) + 10


def test_agents_and_tasks_beyond_what_is_told_are_told_together() -> None:
    counts = {f"tasks/task{number}/{outcome}": 1 for number in range(110) for outcome in ("done", "failed")}
    outcomes = {f"tasks/task0/outcome{number}": 1 for number in range(40)}
    words = {f"word{number}": 1 for number in range(40)}
    seconds = {f"task{number}": (1,) * (len(BUCKETS) + 1) for number in range(110)}
    told = [
        ReplicaFigures(f"agent{number:04}", "p", counts=counts | outcomes | words, seconds=seconds)
        for number in range(MAX_AGENTS + 20)
    ]
    agents = by_agent(told)
    assert len(agents) == MAX_AGENTS + 1
    assert sum(len(one.seconds) for one in agents) <= MAX_TASKS_OF_ALL + MAX_AGENTS + 1
    assert sum(sum(one.counts.values()) for one in agents) == (MAX_AGENTS + 20) * 300
    assert sum(sum(map(sum, one.seconds.values())) for one in agents) == (MAX_AGENTS + 20) * 110 * 15
    assert of_core(Rig(), RunReading(agents, BUCKETS)).count("\norchestrator_tasks_total{") < 8_500
    one = by_agent(told[:1])[0]
    assert len({series.split("/")[1] for series in one.counts if series.startswith("tasks/")}) == 101
    assert sum(series.startswith("tasks/task0/") for series in one.counts) <= 21


# -- who is told (hazard 48)


@on_both_loops
async def test_hazard_48_from_elsewhere_whoever_holds_a_secret_key_is_told_and_nobody_else() -> None:
    reader = SecretKey("sk_id_reader", "sk_secret_" + "m" * 32, "(metrics)", (), frozenset())
    away = SecretKey("sk_id_away", "sk_secret_" + "a" * 32, app="away")
    async with metrics(keys=KeyRing([KEY, reader, away], suspended=["away"])) as api:
        assert (await scraped(api)).status == 200
        for host, headers in (
            ("hub.example", {}),
            ("localhost.evil.example", {}),
            ("localhost", {"X-Forwarded-For": "10.0.0.1"}),
            ("localhost", {"Via": "1.1 proxy"}),
        ):
            for key in (KEY, reader):
                assert (await scraped(api, host, key, headers)).status == 200
            wrong = SecretKey(reader.id, KEY.secret)
            for refused in (None, away, wrong, SecretKey("sk_id_none", KEY.secret)):
                reply = await scraped(api, host, refused, headers)
                assert reply.error == (401, "unauthorized")
                assert reply.headers["WWW-Authenticate"] == "Bearer"
            for given in (f"Bearer {token('a')}", f"Basic {KEY.id}:{KEY.secret}", "Bearer ", f"{KEY.id}:{KEY.secret}"):
                assert (await scraped(api, host, None, {**headers, "Authorization": given})).status == 401
        assert (await scraped(api, "hub.example", reader, {"Origin": "https://hub.example"})).status == 403


async def test_hazard_48_a_key_for_metrics_reads_them_and_opens_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    code, pair, _ = run("keys", "new", "--keys", str(path), "--for-metrics")
    assert code == 0
    reader = SecretKey.parse(pair.strip())
    ring = key_file.load(path).ring()
    assert (ring.secret[reader.id].actions, ring.secret[reader.id].channels) == (frozenset(), ())
    listed = run("keys", "list", "--keys", str(path))[1]
    assert reader.id in listed and "(metrics)" in listed
    async with metrics(keys=KeyRing([KEY, *ring.secret.values()])) as api, raw_peer(api.hub.url, "a") as a:
        assert (await scraped(api, "hub.example", reader)).status == 200
        assert (await api.kick("a", reader)).body["closed"] == 0
        assert (await api.publish("x", reader, data=1)).error == (403, "action_not_permitted")
        assert (await api.peers("x", reader)).error == (403, "action_not_permitted")
        assert (await api.mint("b", reader, channels=["x"])).error == (403, "channel_not_authorized")
        a.say({"type": "ping"})
        assert (await a.message())["type"] == "pong"
    for more in (("--publishable",), ("--channels", "x"), ("--actions", "publish"), ("--rate", "1:1")):
        code, _, error = run("keys", "new", "--keys", str(path), "--for-metrics", *more)
        assert (code, "for nothing else" in error) == (2, True)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_hazard_48_no_port_beyond_this_machine_is_opened_without_tls_or_a_word(address: str, tmp_path: Path) -> None:
    keys, topology = tmp_path / "keys.yaml", tmp_path / "topology.yaml"
    assert run("keys", "new", "--keys", str(keys))[0] == 0
    code, _, error = run("hub", "serve", "--keys", str(keys), "--listen", address)
    assert (code, "give --tls-cert, or --insecure" in error) == (2, True)
    topology.write_text(f"version: 1\nhub: {{listen: '{address}'}}\nworkers:\n  w: {{handler: app:W}}\n")
    code, _, error = run("validate", str(topology))
    assert (code, "beyond this machine a hub needs TLS" in error) == (3, True)


async def test_metrics_that_were_turned_off_are_not_there() -> None:
    async with metrics(Settings(drain_grace=0.2, metrics=False)) as api:
        assert (await scraped(api)).error == (404, "not_found")


async def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "orchestrator.hub.metrics_text")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    async with metrics() as api:
        reply = await scraped(api)
        assert reply.error == (501, "not_installed")
        assert "pip install 'topology-orchestrator[metrics]'" in reply.body["message"]
        assert (await api.ask("GET", "/healthz", key=None)).status == 200


async def test_a_reader_of_the_older_format_gets_that() -> None:
    async with metrics() as api:
        old = await scraped(api, headers={"Accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"})
        assert old.headers["Content-Type"].startswith("text/plain; version=")
        assert "orchestrator_connects_total" in {s.name for f in old_families(old.raw.decode()) for s in f.samples}
        new = await scraped(api, headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
        assert new.headers["Content-Type"].startswith("application/openmetrics-text")


async def test_many_readers_at_once_get_one_text_after_another_and_are_not_too_many() -> None:
    async with metrics() as api:
        replies = await asyncio.gather(*(scraped(api) for _ in range(30)))
        assert {reply.status for reply in replies} <= {200, 503}
        assert (await scraped(api)).status == 200


# -- the document


def test_the_document_names_every_metric_with_its_kind_and_labels() -> None:
    traffic_of: Any = Rig()
    reading = read_figures(traffic_of.hub, (tuple(NO_LAG[0]), 0.0), RunReading(by_agent(RUN), BUCKETS))
    for name in ("closes", "refusals", "errors"):
        getattr(reading.traffic, name)["x"] = 1
    reading.traffic.requests["usage", "2xx"] = 1
    object.__setattr__(reading, "cluster", ClusterReading(1, True, False, 0))
    exported = {}
    for family in families(write(reading)[0].decode()):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        suffix = "_total" if family.type == "counter" else ""
        exported[f"{family.name}{suffix}"] = (family.type, ", ".join(sorted(labels)))
    rows = {}
    for row in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().replace("`", "") for cell in row.split("|")]
        if len(cells) == 6 and cells[1].startswith("orchestrator_"):
            rows[cells[1]] = (cells[2], ", ".join(sorted(filter(None, cells[3].split(", ")))))
    assert rows == exported
