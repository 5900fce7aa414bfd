"""A store on Redis and its server: which one it takes, and what becomes of requests when that goes and comes back."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.errors import StoreUnavailable
from orchestrator.hub.serve import run_fast
from orchestrator.store.errors import StoreUnfit
from orchestrator.store.redis import RedisStore, open_redis_store, redis_store
from orchestrator.store.shared import Needs
from orchestrator.store.tasks import State
from tests.brokers import Broker, start_valkey, valkey_server
from tests.store.redis_stores import DURABLE, NOTHING, at, said
from tests.store.task_stores import new

CERTIFICATE = Path(__file__).parents[1] / "hub" / "localhost.pem"
TASKS, CLAIMS = Needs(durable=True, strong=False), Needs(durable=False, strong=True)


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Broker]:
    with valkey_server(tmp_path / "one", settings=DURABLE) as broker:
        yield broker


@pytest.fixture
async def pair(durable: Broker, tmp_path: Path) -> AsyncIterator[tuple[Broker, Broker]]:
    """A server and its replica."""
    with valkey_server(tmp_path / "two", settings={"replicaof": f"127.0.0.1 {durable.port}"}) as replica:
        assert await said(durable, "WAIT", "1", "10000") == ":1"
        yield durable, replica


# -- which server is taken


async def test_a_server_that_forgets_nothing_keeps_tasks_and_claims(durable: Broker) -> None:
    async with open_redis_store(durable.url, namespace="one", needs=Needs()) as store:
        assert (store.tasks.capabilities.durable, store.leases.capabilities.strong) == (True, True)
        assert (await store.tasks.enqueue([new()]))[0].fresh
        assert await store.leases.acquire("x", "a/1", 10) is not None


async def test_a_server_that_syncs_each_second_keeps_tasks_for_who_takes_the_loss(tmp_path: Path) -> None:
    with valkey_server(tmp_path, settings={"appendonly": "yes", "appendfsync": "everysec"}) as broker:
        async with at(broker, TASKS) as store:
            with pytest.raises(StoreUnfit, match=r"appendfsync everysec.*appendfsync always"):
                await store.open()
        async with at(broker, TASKS, options="?allow_loss=true") as store:
            assert not store.tasks.capabilities.durable
            assert (await store.tasks.enqueue([new()]))[0].fresh


async def test_a_user_who_may_not_look_at_the_settings_is_told_to_be_allowed(durable: Broker) -> None:
    await said(durable, "ACL", "SETUSER", "ann", "on", ">secret", "~*", "+@all", "-config")
    url = f"redis://ann:secret@127.0.0.1:{durable.port}"
    with pytest.raises(StoreUnfit, match=r"\+config\|get") as refusal:
        async with open_redis_store(url, namespace="one", needs=TASKS):
            pass
    assert "secret" not in str(refusal.value)


async def test_the_rules_that_the_page_lists_are_enough_and_end_at_the_store_s_keys(durable: Broker) -> None:
    page = (Path(__file__).parents[2] / "docs" / "shared-stores.md").read_text(encoding="utf-8")
    (rules,) = [line for line in page.splitlines() if line.startswith("ACL SETUSER")]
    await said(durable, *rules.replace(">PASSWORD", ">secret").replace("NAMESPACE", "newsroom").split())
    url = f"redis://orchestrator:secret@127.0.0.1:{durable.port}"
    async with open_redis_store(url, namespace="newsroom", needs=Needs()) as store:
        await store.tasks.enqueue([new(key="k", expires=5.0)])
        (leased,) = (await store.tasks.claim("helper", "helper.1")).tasks
        await store.tasks.extend(leased.hold, 5)
        assert (await store.tasks.once(leased.hold, "effect")).first
        await store.tasks.complete(leased.hold, b"1")
        assert (await store.tasks.stats())[0].done == 1
        assert len(await store.tasks.list()) == 1
        assert await store.tasks.purge(0) == 1
        assert await store.leases.acquire("x", "a/1", 10) is not None
        await store.leases.release("x", "a/1")
    async with _Closing(redis_store(url, namespace="elsewhere", needs=NOTHING)) as other:
        with pytest.raises(StoreUnavailable, match="does not let its user do"):
            await other.tasks.stats()


class _Closing:
    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def __aenter__(self) -> RedisStore:
        return self._store

    async def __aexit__(self, *_: object) -> None:
        await self._store.close()


async def test_strong_claims_on_a_replicated_server_are_for_who_takes_two_holders(pair: tuple[Broker, Broker]) -> None:
    primary, replica = pair
    async with at(primary, CLAIMS) as store:
        with pytest.raises(StoreUnfit, match=r"is replicated.*allow_unsafe_claims: true"):
            await store.open()
        with pytest.raises(StoreUnavailable, match="is replicated"):
            await store.leases.get("x")
    async with at(primary, Needs(durable=False, strong=True, allow_unsafe_claims=True)) as store:
        await store.open()
        assert not store.leases.capabilities.strong
    async with at(replica) as store:
        with pytest.raises(StoreUnavailable, match="name the primary"):
            await store.open()


async def test_a_server_that_took_over_is_not_taken_for_one_that_was_always_alone(pair: tuple[Broker, Broker]) -> None:
    primary, replica = pair
    primary.kill()
    await said(replica, "REPLICAOF", "NO", "ONE")
    async with at(replica, CLAIMS) as store:
        await said(replica, "CONFIG", "SET", "appendonly", "yes")
        await said(replica, "CONFIG", "SET", "appendfsync", "always")
        with pytest.raises(StoreUnfit, match="is replicated"):
            await store.open()


async def test_a_replica_that_came_later_is_noticed(
    durable: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.store import redis_link

    monkeypatch.setattr(redis_link, "LOOKED_AT", 0.0)
    async with at(durable, CLAIMS) as store:
        assert await store.leases.acquire("x", "a/1", 10) is not None
        with valkey_server(tmp_path / "two", settings={"replicaof": f"127.0.0.1 {durable.port}"}):
            assert await said(durable, "WAIT", "1", "10000") == ":1"
            with pytest.raises(StoreUnavailable, match="is replicated"):
                await store.leases.acquire("y", "a/1", 10)


async def test_a_server_that_is_made_a_replica_gives_no_answer_until_it_is_none(durable: Broker) -> None:
    async with at(durable) as store:
        await store.open()
        await said(durable, "REPLICAOF", "127.0.0.1", "1")
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="replica"):
                await store.tasks.enqueue([new()])
        await said(durable, "REPLICAOF", "NO", "ONE")
        assert (await store.tasks.enqueue([new()]))[0].fresh


# -- a server that goes


async def test_what_was_acknowledged_is_there_after_a_crash(durable: Broker, tmp_path: Path) -> None:
    async with at(durable, Needs()) as store:
        await store.tasks.enqueue([new("a"), new("b")])
        (leased,) = (await store.tasks.claim("helper", "helper.1")).tasks
        lease = await store.leases.acquire("x", "a/1", 30)
        assert lease is not None
        durable.kill()
        with pytest.raises(StoreUnavailable, match=f"redis://127.0.0.1:{durable.port}/0"):
            await store.tasks.stats()
        with valkey_server(tmp_path / "one", durable.port, DURABLE):
            await store.tasks.complete(leased.hold, b"1")
            assert (await store.tasks.get("b")).info.state is State.READY
            assert await store.leases.acquire("x", "b/1", 30) is None
            renewed = await store.leases.renew("x", "a/1", 30)
            assert renewed is not None
            assert renewed.fence == lease.fence


async def test_a_server_that_stops_to_answer_is_given_up_and_taken_again(durable: Broker) -> None:
    async with at(durable, answer=0.2) as store:
        await store.open()
        durable.pause()
        asked = [store.tasks.enqueue([new(f"t{number}")]) for number in range(20)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        with pytest.raises(StoreUnavailable):
            await store.leases.get("x")
        durable.resume()
        stored = await store.tasks.enqueue([new(f"t{number}") for number in range(20)])
        assert [each.id for each in stored] == [f"t{number}" for number in range(20)]


async def test_nobody_listens() -> None:
    async with _Closing(redis_store("redis://127.0.0.1:1", namespace="one", needs=NOTHING)) as store:
        with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1:1/0 cannot be reached"):
            await store.open()


async def test_a_server_that_lost_everything_is_not_the_store_of_before(tmp_path: Path) -> None:
    broker = start_valkey(tmp_path)
    async with at(broker) as store:
        await store.tasks.enqueue([new()])
        broker.kill()
        with pytest.raises(StoreUnavailable):
            await store.tasks.stats()
        with valkey_server(tmp_path, broker.port) as empty:
            with pytest.raises(StoreUnavailable, match="another one than before"):
                await store.tasks.stats()
            async with at(empty) as anew:
                assert await anew.tasks.stats() == ()


async def test_fences_grow_though_the_server_has_forgotten_them(tmp_path: Path) -> None:
    broker = start_valkey(tmp_path)
    fences = []
    for _ in range(2):
        async with at(broker) as store:
            await store.tasks.enqueue([new()])
            (leased,) = (await store.tasks.claim("helper", "helper.1")).tasks
            lease = await store.leases.acquire("x", "a/1", 10)
            assert lease is not None
            fences += [leased.hold.fence, lease.fence]
            await said(broker, "FLUSHALL")
    broker.kill()
    assert fences == sorted(set(fences))


async def test_scripts_that_a_server_has_forgotten_are_sent_again(durable: Broker) -> None:
    async with at(durable) as store:
        await store.tasks.enqueue([new()])
        await said(durable, "SCRIPT", "FLUSH")
        assert (await store.tasks.stats())[0].ready == 1


async def test_a_full_server_says_so_and_takes_more_when_there_is_room(durable: Broker) -> None:
    async with at(durable) as store:
        await store.tasks.enqueue([new("a")])
        await said(durable, "CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StoreUnavailable, match=r"is full.*maxmemory"):
            await store.tasks.enqueue([new("b")])
        await said(durable, "CONFIG", "SET", "maxmemory", "0")
        assert (await store.tasks.enqueue([new("b")]))[0].fresh


# -- who asks


async def test_a_request_that_is_cancelled_takes_no_answer_from_the_next(durable: Broker) -> None:
    async with at(durable) as store:
        await store.open()
        for number in range(20):
            given_up = asyncio.create_task(store.tasks.enqueue([new(f"a{number}")]))
            kept = asyncio.create_task(store.tasks.enqueue([new(f"b{number}")]))
            await asyncio.sleep(0)
            given_up.cancel()
            assert (await kept)[0].id == f"b{number}"
            with pytest.raises(asyncio.CancelledError):
                await given_up


async def test_what_was_asked_before_the_end_is_answered_and_nothing_after(durable: Broker) -> None:
    async with at(durable) as store:
        await store.open()
        asked = asyncio.create_task(store.tasks.enqueue([new()]))
        await asyncio.sleep(0)
        await store.close()
        assert (await asked)[0].fresh
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.tasks.stats()


@pytest.mark.parametrize("url", ["redis://ann:secret@127.0.0.1:{port}", "redis://:secret@127.0.0.1:{port}"])
async def test_a_password_that_is_wrong_is_in_no_error(durable: Broker, url: str) -> None:
    store = redis_store(url.format(port=durable.port), namespace="one", needs=NOTHING)
    async with _Closing(store):
        with pytest.raises(StoreUnavailable) as refusal:
            await store.open()
    assert "secret" not in f"{refusal.value} {refusal.value!r} {store!r} {refusal.value.__cause__!r}"


async def test_a_server_that_wants_a_password_says_so(tmp_path: Path) -> None:
    with valkey_server(tmp_path, settings={"requirepass": "secret"}) as broker:
        async with at(broker) as store:
            with pytest.raises(StoreUnavailable, match="wants a user or a password"):
                await store.open()
        url = f"redis://:secret@127.0.0.1:{broker.port}/3"
        async with open_redis_store(url, namespace="one", needs=NOTHING) as store:
            assert await store.tasks.stats() == ()


async def test_what_does_not_speak_as_redis_does_is_no_store() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with _Closing(redis_store(f"redis://127.0.0.1:{port}", namespace="one", needs=NOTHING)) as store:
            with pytest.raises(StoreUnavailable, match="does not speak as Redis does"):
                await store.open()


def test_the_loop_that_a_hub_runs_on_carries_it_too(durable: Broker) -> None:
    async def stored() -> int:
        async with at(durable) as store:
            await asyncio.gather(*(store.tasks.enqueue([new(f"t{number}")]) for number in range(200)))
            return (await store.tasks.stats())[0].ready

    assert run_fast(stored()) == 200


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("orchestrator.store.redis_link", "orchestrator.store.redis_wire"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "hiredis", None)
    with pytest.raises(StoreUnfit, match=r"pip install 'topology-orchestrator\[redis\]'"):
        redis_store("redis://cache", namespace="one", needs=NOTHING)


# -- TLS


@asynccontextmanager
async def encrypted(broker: Broker) -> AsyncIterator[int]:
    """Yield a port of localhost that leads to a server, over TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, behind = await asyncio.open_connection("127.0.0.1", broker.port)
        await asyncio.gather(copy(reader, behind), copy(onward, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_store_over_tls_trusts_whom_its_address_names(durable: Broker) -> None:
    async with encrypted(durable) as port:
        url = f"rediss://localhost:{port}"
        async with open_redis_store(f"{url}?ca={CERTIFICATE}", namespace="one", needs=Needs()) as store:
            payload = bytes(range(256)) * 4_000
            await store.tasks.enqueue([new(payload=payload)])
            assert (await store.tasks.get("t1")).payload == payload
        with pytest.raises(StoreUnavailable, match="certificate"):
            async with open_redis_store(url, namespace="one", needs=Needs()):
                pass
        with pytest.raises(StoreUnavailable, match="No such file"):
            async with open_redis_store(f"{url}?ca=/nowhere.pem", namespace="one", needs=Needs()):
                pass


# -- a cluster


async def joined(store: RedisStore) -> None:
    """Ask until the servers of a cluster have met; they tell nobody when that is."""
    async with asyncio.timeout(30):
        while True:
            try:
                await store.open()
                await store.tasks.stats()
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_store_lies_on_one_server_of_a_cluster_and_is_found_from_any(tmp_path: Path) -> None:
    settings = {
        **DURABLE,
        "cluster-enabled": "yes",
        "cluster-require-full-coverage": "no",
        "cluster-node-timeout": "1000",
    }
    with (
        valkey_server(tmp_path / "a", settings=settings) as one,
        valkey_server(tmp_path / "b", settings=settings) as two,
    ):
        await said(one, "CLUSTER", "ADDSLOTSRANGE", "0", "8191")
        await said(two, "CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
        await said(one, "CLUSTER", "MEET", "127.0.0.1", str(two.port))
        for namespace in ("a", "b", "c", "d"):
            stats = []
            for broker in (one, two):
                async with at(broker, namespace=namespace) as store:
                    await joined(store)
                    await store.tasks.enqueue([new(f"t{broker.port}")])
                    stats.append((await store.tasks.stats())[0].ready)
            assert stats == [1, 2]
        async with at(one, CLAIMS) as store:
            with pytest.raises(StoreUnfit, match="is replicated"):
                await store.open()
