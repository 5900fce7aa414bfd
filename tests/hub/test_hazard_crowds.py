"""Hazards 6, 7: many who want in at once. Whoever sends thousands is refused cheaply, and pushes out nobody else."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hub.connect_gate import ConnectGate, source_of
from orchestrator.hub.crowd import Crowd
from orchestrator.hub.settings import Settings
from tests.hub.sockets import Raw, on_both_loops, raw, server, token, upgrade

CERTIFICATE = str(Path(__file__).with_name("localhost.pem"))


async def from_address(stack: AsyncExitStack, url: str, address: str) -> Raw:
    """Connect from one of this machine's addresses."""
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    stack.callback(writer.transport.abort)
    return Raw(reader, writer)


# -- who has to go


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 30)), max_size=60))
def test_the_oldest_of_the_largest_group_is_the_first_to_go(acts: list[tuple[str, int]]) -> None:
    crowd: Crowd[int] = Crowd()
    waiting: list[tuple[int, str]] = []
    for number, (source, at) in enumerate(acts):
        if at < len(waiting) and at % 3 == 0:
            one, of = waiting.pop(at)
            crowd.remove(one, of)
        else:
            waiting.append((number, source))
            crowd.add(number, source)
        sizes = {here: sum(here == of for _, of in waiting) for _, here in waiting}
        oldest = {
            next(one for one, of in waiting if of == here) for here in sizes if sizes[here] == max(sizes.values())
        }
        first = crowd.first_to_go()
        assert (first in oldest) if waiting else first is None


def test_of_many_with_one_each_the_oldest_goes() -> None:
    crowd: Crowd[int] = Crowd()
    for number in range(5):
        crowd.add(number, f"192.0.2.{number}")
    crowd.remove(0, "192.0.2.0")
    assert crowd.first_to_go() == 1


@pytest.mark.one_hub("the limit is that of one hub")
@on_both_loops
async def test_hazard_7_a_crowd_from_one_address_pushes_out_nobody_from_another() -> None:
    async with server(Settings(max_waiting=3, drain_grace=0.5)) as hub, AsyncExitStack() as stack:
        lonely = await from_address(stack, hub.url, "127.0.0.1")
        crowd = [await from_address(stack, hub.url, "127.0.0.2") for _ in range(10)]
        for pushed_out in crowd[:8]:
            await pushed_out.ended()
        for still_there in (lonely, *crowd[8:]):
            still_there.send(upgrade(f"/v1?token={token('a')}"))
            assert (await still_there.head())[0] == 101


@pytest.mark.one_hub("the limit is that of one hub")
@on_both_loops
async def test_hazard_7_sockets_in_their_tls_handshake_count_too() -> None:
    settings = Settings(tls_certificate=CERTIFICATE, handshake_timeout=60, max_waiting=2, drain_grace=0.5)
    async with server(settings) as hub, raw(hub.url) as first, raw(hub.url) as second, raw(hub.url):
        await first.ended()
        context = ssl.create_default_context(cafile=CERTIFICATE)
        second.send(b"\x16")
        port = int(hub.url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        writer.close()
        await second.ended()


@on_both_loops
async def test_hazard_7_the_budget_of_a_handshake_ends_however_it_is_spent() -> None:
    async with server(Settings(handshake_timeout=0.3, drain_grace=0.5)) as hub, raw(hub.url) as silent:
        async with raw(hub.url) as talking:

            async def talk() -> None:
                for byte in b"GET /v1?token=" + b"x" * 1_000:
                    talking.send(bytes([byte]))
                    await asyncio.sleep(0.02)  # the pace that it talks at

            talk_on = asyncio.create_task(talk())
            await talking.ended()
            assert not talk_on.done()
            talk_on.cancel()
        await silent.ended()


# -- too many attempts


@pytest.mark.one_hub("the limit is that of one hub")
@on_both_loops
async def test_hazard_6_an_address_that_is_full_gets_429_for_whatever_begins_like_an_upgrade() -> None:
    async with server(Settings(connects_per_minute=1, limit_loopback=True, drain_grace=0.5)) as hub:
        whole = upgrade(f"/v1?token={token('a')}")
        async with raw(hub.url) as connection:
            connection.send(whole)
            assert (await connection.head())[0] == 101
        for request in (whole, whole[:20], b"\r\n" + whole, whole + b"more"):
            async with raw(hub.url) as connection:
                connection.send(request)
                status, head = await connection.head()
                assert status == 429
                assert b"Retry-After: 60\r\n" in head
                assert await connection.ended()
        async with raw(hub.url) as connection:
            connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await connection.head())[0] == 200


@on_both_loops
async def test_hazard_6_of_those_who_would_have_to_shake_hands_to_be_refused_few_are_told() -> None:
    settings = Settings(tls_certificate=CERTIFICATE, connects_per_minute=1, limit_loopback=True, drain_grace=0.5)
    context = ssl.create_default_context(cafile=CERTIFICATE)
    async with server(settings) as hub:
        hub._gate.admits("127.0.0.1", hub._driver.clock())
        port = int(hub.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        writer.write(upgrade(f"/v1?token={token('a')}"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 429 ")
        writer.close()
        closed = 0
        async with asyncio.timeout(10), AsyncExitStack() as stack:
            for _ in range(60):
                silent = await stack.enter_async_context(raw(hub.url))
                silent.send(b"\x16")
                waiting = asyncio.create_task(silent.ended())
                await asyncio.wait([waiting], timeout=0.02)
                closed += waiting.done()
                waiting.cancel()
        assert closed > 20


@pytest.mark.one_hub("the limit is that of one hub")
@on_both_loops
async def test_hazard_6_a_request_that_waited_in_the_queue_of_a_busy_hub_is_answered_all_the_same() -> None:
    async with server(Settings(connects_per_minute=1, limit_loopback=True, drain_grace=0.5)) as hub:
        whole = upgrade(f"/v1?token={token('a')}")
        for expected in (101, 429, 429):
            async with AsyncExitStack() as stack:
                connection = await from_address(stack, hub.url, "127.0.0.3")
                connection.send(whole)
                assert (await connection.head())[0] == expected


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("no:address", "no:address"),
    ],
)
def test_hazard_6_what_an_address_counts_as(address: str, source: str) -> None:
    assert source_of(address) == source


def test_hazard_6_all_addresses_of_an_ipv6_network_count_as_one() -> None:
    gate = ConnectGate(2)
    assert [gate.admits(f"2001:db8::{number:x}", 0.0) for number in range(4)] == [True, True, False, False]
    assert gate.admits("2001:db8:0:1::1", 0.0)


def test_hazard_6_whoever_goes_on_is_remembered_however_many_others_come() -> None:
    gate = ConnectGate(1, most=10)
    assert gate.admits("192.0.2.1", 0.0)
    for number in range(200):
        assert not gate.admits("192.0.2.1", 1.0), "a refused attempt is a sign of life too"
        assert all(gate.admits(f"198.51.{number}.{other}", 1.0) for other in range(9))


def test_hazard_6_of_too_many_the_one_that_was_seen_least_recently_is_forgotten() -> None:
    gate = ConnectGate(1, most=3)
    for number in range(4):
        assert gate.admits(f"192.0.2.{number}", float(number))
    assert [gate.is_full(f"192.0.2.{number}", 4.0) for number in range(4)] == [False, True, True, True]


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 30)), max_size=80))
def test_hazard_6_no_source_is_let_through_more_often_than_it_may_within_a_minute(
    acts: list[tuple[int, float]],
) -> None:
    gate, now = ConnectGate(3), 0.0
    let_through: dict[str, list[float]] = {}
    for number, later in acts:
        now += later
        address = f"192.0.2.{number}"
        recent = [then for then in let_through.get(address, []) if then > now - 60]
        assert gate.is_full(address, now) == (len(recent) >= 3)
        admitted = gate.admits(address, now)
        assert admitted == (len(recent) < 3)
        let_through[address] = [*recent, now] if admitted else recent
