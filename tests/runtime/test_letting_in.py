"""A run lets its own user in to its hub, by a token or by a link."""

from __future__ import annotations

import socket
from urllib.parse import parse_qs, urlsplit

import pytest

from orchestrator.protocol.tokens import SecretKey, verify
from orchestrator.runtime.letting_in import LettingIn
from orchestrator.runtime.lives import Seat
from orchestrator.runtime.operator_wire import MAX_SUB, Enter, KeptTasks, NotUnderstood, line_of, read_request
from orchestrator.runtime.summary import link_line
from orchestrator.topology.handlers import HandledTask, HandlerReport
from tests.runtime.plans import planned

KEY = SecretKey("sk_id_run", "sk_secret_" + "s" * 40)
NOW = 1_800_000_000.5
WITH_LOBBY = """
version: 1
coordinators:
  boss: {handler: "app:Boss", workers: [helper]}
workers:
  helper: {handler: "app:Helper", replicas: 2, tasks: {delivery: at-least-once, timeout: 2m, max_attempts: 4, backoff: {delay: 2s}}}
presence:
  hall: {members: [helper], watchers: [reader]}
users:
  reader: {asks: [boss]}
"""

REPORTS = {
    "app:Helper": HandlerReport(
        "app:Helper", (HandledTask("Fetch", "task", "fetch", "str"), HandledTask("Tell", "stream", "tell", "str"))
    )
}


def letting_in(url: str, listening: socket.socket | None = None) -> LettingIn:
    return LettingIn(Seat(url, listening, KEY, trusted="/some/cert.pem"), lambda: "once-only")


def test_a_command_gets_all_that_it_connects_with() -> None:
    entry = letting_in("ws://127.0.0.1:7700").entry(planned(WITH_LOBBY), REPORTS, "", "", NOW)
    assert (entry.url, entry.trusted) == ("ws://127.0.0.1:7700", "/some/cert.pem")
    assert entry.lobbies == {"hall": "lobbies/hall"}
    assert entry.agents == {"boss": ("boss",), "helper": ("helper.1", "helper.2")}
    assert entry.tasks == {"helper": {"Fetch": False, "Tell": True}}
    assert entry.kept == {"helper": KeptTasks(4, 2.0, 60.0, 120.0)}
    assert entry.expires_at == 1_800_003_600
    _, claims = verify(entry.token, {KEY.id: KEY}, NOW)
    assert claims.exp == entry.expires_at
    assert claims.sub.startswith("cli/")
    assert entry.token not in repr(entry)


def test_nobody_is_let_in_as_somebody_else_who_was_not_asked_for() -> None:
    one = letting_in("ws://127.0.0.1:7700")
    first, second = (verify(one.entry(planned(), {}, "", "", NOW).token, {KEY.id: KEY}, NOW)[1] for _ in range(2))
    assert first.sub != second.sub
    again = verify(one.entry(planned(), {}, "ab", "cd", NOW).token, {KEY.id: KEY}, NOW)[1]
    assert (again.sub, again.instance) == ("cli/ab", "cd")


def test_a_name_that_cannot_be_had_is_refused_with_a_sentence() -> None:
    with pytest.raises(NotUnderstood, match="'a/b'"):
        letting_in("ws://127.0.0.1:7700").entry(planned(), {}, "a/b", "", NOW)
    with pytest.raises(NotUnderstood, match="0 to 64 characters"):
        read_request(line_of(Enter("x" * (MAX_SUB + 1))))
    assert read_request(line_of(Enter("ab", "cd"))) == Enter("ab", "cd")
    assert read_request(b'{"type": "enter"}\n') == Enter()


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("ws://127.0.0.1:7700", "http://127.0.0.1:7700/"),  # by the name, somebody else on ::1 could be asked first
        ("wss://127.0.0.1:7700", "https://localhost:7700/"),
    ],
)
def test_the_link_to_a_hub_of_the_run_holds_a_code(url: str, page: str) -> None:
    with socket.socket() as listening:
        linked = letting_in(url, listening).link(planned(), NOW)
    assert linked.url == f"{page}#code=once-only"
    assert link_line(url, "once-only", "a.yaml").startswith(f"dashboard {linked.url} ")
    assert "once-only" not in repr(linked)


def test_the_link_to_a_hub_elsewhere_holds_a_token() -> None:
    parts = urlsplit(letting_in("wss://hub.example.org").link(planned(), NOW).url)
    assert (parts.scheme, parts.netloc, parts.path, parts.query) == ("https", "hub.example.org", "/", "")
    [token] = parse_qs(parts.fragment)["token"]
    assert verify(token, {KEY.id: KEY}, NOW)[1].sub.startswith("cli/dashboard-")
