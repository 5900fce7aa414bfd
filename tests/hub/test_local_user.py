"""Whose process is at the other end of a connection within this machine."""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hub.local_user import is_loopback, is_passed_on, names_loopback, owned_by, same_user

HERE, THERE = ("127.0.0.1", 7700), ("127.0.0.1", 40_000)
HERE6, THERE6 = ("::1", 7700), ("::1", 40_000)
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
US, OTHER, ROOT = 1000, 1001, 0
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="no other system keeps such tables")


def opened(address: str) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, 0), family=family, dualstack_ipv6=address == "::")
    except OSError:
        return None


def is_there(address: str) -> bool:
    tried = opened(address)
    if tried is not None:
        tried.close()
    return tried is not None


ADDRESSES = [address for address in ("127.0.0.1", "::1", "::") if is_there(address)]
"""Those that this machine has."""


def written(address: str, port: int, mapped: bool = False) -> str:
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    packed = bytes(10) + b"\xff\xff" + packed if mapped else packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def line(local: tuple[str, int], remote: tuple[str, int], user: int, state: str = "01", mapped: bool = False) -> str:
    ends = f"{written(*local, mapped)} {written(*remote, mapped)}"
    return f"   7: {ends} {state} 00000000:00000000 00:00000000 00000000 {user:5}        0 1678 1 0 20 4 30 10 -1\n"


@pytest.mark.parametrize(
    ("lines", "allowed"),
    [
        ([line(THERE, HERE, US)], True),
        ([line(THERE, HERE, ROOT)], True),
        ([line(THERE, HERE, OTHER)], False),
        ([line(HERE, THERE, US), line(THERE, HERE, OTHER)], False),
        ([line(THERE, HERE, OTHER, mapped=True)], False),
        ([line(THERE, HERE, US, mapped=True)], True),
        # What nobody holds any more is root's, and is nobody's.
        ([line(HERE, THERE, US), line(THERE, HERE, ROOT, "06")], False),
        ([line(HERE, THERE, US), line(THERE, HERE, ROOT, "05")], False),
        ([line(HERE, THERE, US)], False),
        # Of another connection.
        ([line(HERE, THERE, US), line(("127.0.0.1", 40_001), HERE, US)], False),
        ([line(HERE, THERE, US), line(("127.0.0.2", 40_000), HERE, US)], False),
        # A system that does not tell.
        ([], True),
        (["nothing that we know\n"], True),
        ([line(THERE, HERE, OTHER)[:60]], True),
    ],
)
def test_the_owner_is_read_from_the_line_of_the_other_end(lines: list[str], allowed: bool) -> None:
    assert owned_by([HEAD + "".join(lines), HEAD], HERE, THERE, {US, ROOT}) is allowed
    assert owned_by([HEAD, HEAD + "".join(lines)], HERE, THERE, {US, ROOT}) is allowed


def test_addresses_of_either_kind_are_found() -> None:
    assert not owned_by([HEAD + line(THERE6, HERE6, OTHER)], HERE6, THERE6, {US})
    mapped = ("::ffff:127.0.0.1", 7700), ("::ffff:127.0.0.1", 40_000)
    assert not owned_by([HEAD + line(THERE, HERE, OTHER)], *mapped, {US})
    assert not owned_by([HEAD + line(THERE, HERE, OTHER, mapped=True)], *mapped, {US})
    assert owned_by([HEAD + line(THERE, HERE, US)], *mapped, {US})


@given(st.lists(st.text(), max_size=3), st.text(), st.text())
def test_whatever_the_tables_hold_there_is_an_answer(tables: list[str], here: str, there: str) -> None:
    assert owned_by(tables, (here, 1), (there, 2), {US}) in (True, False)


@LINUX
@pytest.mark.parametrize("address", ADDRESSES)
def test_the_systems_own_tables_tell_who_is_there(address: str) -> None:
    listening = opened(address)
    assert listening is not None
    port = listening.getsockname()[1]
    with listening, socket.create_connection(("127.0.0.1" if address == "::" else address, port)) as client:
        accepted, _ = listening.accept()
        with accepted:
            here, there = accepted.getsockname()[:2], accepted.getpeername()[:2]
            assert same_user(here, there)
            assert same_user(here, there, {os.geteuid()})
            assert not same_user(here, there, {os.geteuid() + 1})
            client.close()
            assert not same_user(here, there)


def test_where_there_are_no_tables_nobody_can_tell(tmp_path: Path) -> None:
    assert same_user(HERE, THERE, {US}, [tmp_path / "tcp"])


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:7700", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:7700", "localhost:1"]
)
def test_names_of_this_machine(host: str) -> None:
    assert names_loopback([host])


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["localhost", "localhost"],
        ["localhost."],
        ["localhost.evil.example"],
        ["evil.example"],
        ["127.0.0.1.evil.example"],
        ["127.0.0.2"],
        ["127.1"],
        ["2130706433"],
        ["0.0.0.0"],
        ["::1"],
        ["[::1"],
        ["[::ffff:127.0.0.1]"],
        ["localhost:"],
        ["localhost:port"],
        ["localhost:123456"],
        ["localhost\n"],
        ["user@localhost"],
        ["localhost/x"],
    ],
)
def test_names_that_are_not(hosts: list[str]) -> None:
    assert not names_loopback(hosts)


def test_what_a_proxy_adds() -> None:
    for name in ("Forwarded", "X-Forwarded-For", "x-forwarded-anything", "VIA", "X-Real-IP"):
        assert is_passed_on(["Host", name])
    assert not is_passed_on(["Host", "Accept", "X-Forward", "Authorization"])


def test_loopback_addresses() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "fe80::1%lo", "", "localhost")))
