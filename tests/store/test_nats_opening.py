"""Where a store in NATS is, what is asked of its servers, and what happens while they are away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from orchestrator.errors import StoreUnavailable
from orchestrator.store.errors import StoreUnfit
from orchestrator.store.nats import nats_store, open_nats_store
from orchestrator.store.nats_address import read_address
from orchestrator.store.shared import Needs, is_shared, open_shared_store, shared_store
from tests.brokers import JETSTREAM, nats_server, needs_client, start_nats
from tests.store.nats_stores import SYNCED, opened, server
from tests.store.task_stores import new

NOTHING = Needs(durable=False, strong=False)


# -- addresses


def test_an_address_names_servers_and_what_their_operator_says_of_them() -> None:
    address = read_address("nats://a,b:4333,[::1]:9?sync=always&replicas=3&ca=/etc/ca.pem")
    assert address.servers == ("a:4222", "b:4333", "[::1]:9")
    assert (address.synced, address.replicas, address.ca) == (True, 3, Path("/etc/ca.pem"))
    assert address.login() == {}


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ("me:s3cr%40t@", {"user": "me", "password": "s3cr@t"}),
        ("t0ken@", {"token": "t0ken"}),
    ],
)
def test_a_login_is_used_and_not_shown(login: str, said: dict[str, str]) -> None:
    address = read_address(f"nats://{login}a")
    assert address.login() == said
    assert not any(secret in f"{address!r} {address.shown}" for secret in said.values() if secret != "me")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nats://", "is 'nats://host:4222'"),
        ("nats://a/bucket", "is 'nats://host:4222'"),
        ("nats://a:port", "no host and port"),
        ("nats://a,:1", "no host and port"),
        ("nats://a?sync=never", "'sync' is 'always'"),
        ("nats://a?replicas=2", "'replicas' is 1, 3 or 5"),
        ("nats://a?sink=always", "no option 'sink'"),
        ("nats://a?sync", "'name=value'"),
    ],
)
def test_an_address_that_is_none_is_refused_without_its_login(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        read_address(url.replace("nats://", "nats://me:s3cret@"))
    assert "s3cret" not in str(refused.value)


def test_what_machines_share_is_known_by_its_scheme() -> None:
    assert [is_shared(each) for each in ("nats://a", "redis://a", "rediss://a", "sqlite:///a", "memory:", "nats")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(ValueError, match="'kafka' is no engine"):
        shared_store("kafka://me:s3cret@a", namespace="n", needs=NOTHING)


# -- what is asked of servers


@pytest.mark.parametrize(("needs", "what"), [(Needs(), "at-least-once tasks"), (Needs(durable=False), "strong claims")])
async def test_one_server_that_may_forget_is_refused_with_what_to_do(needs: Needs, what: str) -> None:
    with pytest.raises(StoreUnfit, match=what) as refused:
        async with open_shared_store(server().url, namespace="forgetful", needs=needs):
            pass
    assert "'sync_interval: always'" in str(refused.value)
    assert "'?sync=always'" in str(refused.value)
    assert "three servers" in str(refused.value)


async def test_what_a_store_can_keep_is_told_by_its_capabilities() -> None:
    unsafe = Needs(durable=False, allow_unsafe_claims=True)
    async with open_nats_store(server().url, namespace="unsafe", needs=unsafe) as store:
        assert not store.leases.capabilities.strong
        assert not store.tasks.capabilities.durable
    async with opened() as store:
        assert store.leases.capabilities.strong
        assert store.tasks.capabilities.durable
        assert store.tasks.capabilities.shared


async def test_servers_without_jetstream_are_told(tmp_path: Path) -> None:
    needs_client("nats", "nats-py")
    with nats_server(tmp_path) as plain, pytest.raises(StoreUnavailable, match="JetStream"):
        async with open_nats_store(plain.url + SYNCED, namespace="n", needs=Needs()):
            pass


async def test_a_login_that_is_refused_is_told_and_not_shown(tmp_path: Path) -> None:
    needs_client("nats", "nats-py")
    config = JETSTREAM.format(folder=tmp_path) + "authorization { user: me, password: right }\n"
    with nats_server(tmp_path, config=config) as guarded:
        place = guarded.url.partition("//")[2]
        async with open_nats_store(f"nats://me:right@{place}{SYNCED}", namespace="n", needs=Needs()) as store:
            assert await store.leases.acquire("x", "a/1", 5) is not None
        with pytest.raises(StoreUnavailable, match=r"(?i)authorization") as refused:
            async with open_nats_store(f"nats://me:wr0ng@{place}{SYNCED}", namespace="n", needs=Needs()):
                pass
    assert "wr0ng" not in str(refused.value)


# -- servers that are away


async def test_a_server_that_is_not_there_is_told_in_time(tmp_path: Path) -> None:
    needs_client("nats", "nats-py")
    with nats_server(tmp_path) as gone:
        gone.kill()
        store = nats_store(gone.url, namespace="n", needs=Needs())
        async with asyncio.timeout(15):
            with pytest.raises(StoreUnavailable, match=f"the store {gone.url} gave no answer"):
                await store.tasks.stats()
        await store.close()


async def back(ask: Callable[[], Awaitable[None]]) -> None:
    """Ask again until there is an answer."""
    async with asyncio.timeout(15):
        while True:
            try:
                await ask()
            except StoreUnavailable:
                await asyncio.sleep(0.05)  # the client tells nobody when it is connected again
            else:
                return


async def test_what_was_stored_outlives_the_server_and_the_store_works_again_when_it_is_back(tmp_path: Path) -> None:
    needs_client("nats", "nats-py")
    config = JETSTREAM.format(folder=tmp_path)
    with nats_server(tmp_path, config=config) as first:
        async with open_nats_store(first.url + SYNCED, namespace="n", needs=Needs()) as store:
            await store.tasks.enqueue([new("a"), new("b")])
            (leased,) = (await store.tasks.claim("helper", "helper.1")).tasks
            lease = await store.leases.acquire("x", "a/1", 60)
            first.kill()
            with pytest.raises(StoreUnavailable):
                await store.tasks.complete(leased.hold, b"1")
            with pytest.raises(StoreUnavailable):
                await store.leases.get("x")
            second = start_nats(tmp_path, first.port, config)
            try:
                await back(lambda: store.tasks.complete(leased.hold, b"1"))
                assert [each.hold.id for each in (await store.tasks.claim("helper", "helper.1")).tasks] == ["b"]
                assert lease is not None
                held = await store.leases.get("x")
                assert held is not None
                assert (held.holder, held.fence) == ("a/1", lease.fence)
            finally:
                second.kill()
