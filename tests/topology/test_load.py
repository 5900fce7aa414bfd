from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import ExitCode, Problem, TopologyError
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Reconnect, Restart
from orchestrator.topology.values import Address
from tests.topology.files import DESK, ENVIRON, SMALLEST, complaints, read

if TYPE_CHECKING:
    from pathlib import Path

RICH = """\
version: 1
name: newsroom
hub:
  url: ${HUB_URL:-local}
  listen: 127.0.0.1:7700
  key: ${HUB_KEY:-}
  token_ttl: 15m
defaults:
  restart: {condition: on-failure, delay: 1s, max_delay: 60s, max_attempts: 5, window: 10m}
  reconnect: {max_attempts: unlimited, max_delay: 60s}
coordinators:
  editor:
    handler: agents.newsroom:Editor
    workers: [researcher, writer]
workers:
  researcher:
    handler: agents.newsroom:Researcher
    replicas: 3
    concurrency: 4
    capabilities: [web, pdf]
    tasks: {timeout: 2m}
  writer:
    handler: agents.newsroom:Writer
    scopes: {publish: [audit/drafts]}
    environment: {MODEL: small}
    restart: {delay: 150ms}
agents:
  checker: {handler: agents.newsroom:Checker, replicas: 2}
  concierge: {handler: agents.newsroom, name: "the concierge", inherit_environment: false}
teams:
  desk: {channel: team_42/state, members: [researcher, checker]}
presence:
  lobby: {channel: agents-lobby, members: [editor, writer], watchers: [concierge, reader]}
users:
  reader: {asks: [editor], token_ttl: 1h}
"""


def test_the_smallest_topology_is_one() -> None:
    topology = read(SMALLEST)
    assert topology.coordinators["boss"].workers == ("helper",)
    assert topology.workers["helper"].replicas == 3
    assert topology.workers["helper"].concurrency is None


def test_everything_that_a_file_can_say_is_read() -> None:
    topology = read(RICH)
    assert topology.hub.url is None
    assert topology.hub.listen == Address("127.0.0.1", 7700)
    assert topology.hub.key is None
    assert topology.hub.token_ttl == 900.0
    assert topology.defaults.restart == Restart(window=600)
    assert topology.defaults.reconnect == Reconnect(max_attempts=None, max_delay=60)
    assert topology.workers["researcher"].tasks.timeout == 120.0
    assert topology.workers["researcher"].capabilities == ("web", "pdf")
    assert topology.agents["concierge"].name == "the concierge"
    assert not topology.agents["concierge"].inherit_environment
    assert topology.presence["lobby"].watchers == ("concierge", "reader")


def test_an_agents_own_restart_keeps_the_defaults_that_it_does_not_change() -> None:
    topology = read(RICH)
    assert topology.restart_of(topology.workers["writer"]) == Restart(delay=0.15, window=600)
    assert topology.restart_of(topology.workers["researcher"]) == topology.defaults.restart


def test_65_words_that_yaml_takes_for_something_else_stay_text_where_text_is_due() -> None:
    """Hazard 65: no, on, base-60 numbers, dates and version numbers reach a handler as they were written."""
    values = ["no", "on", "yes", "12:30", "2024-01-01", "1.10", "0x10", "1_000", "1e3", "=", "08"]
    environment = ", ".join(f"V{index}: {value}" for index, value in enumerate(values))
    topology = read(f"version: 1\nworkers:\n  no: {{handler: app:W, environment: {{{environment}}}}}\n")
    assert list(topology.workers["no"].environment.values()) == values


def test_keys_that_begin_with_x_are_the_authors_own() -> None:
    topology = read(
        "version: 1\nx-worker: &worker {handler: app:W, replicas: 2}\nworkers:\n  a: *worker\n"
        "  b:\n    <<: *worker\n    replicas: 3\n"
    )
    assert topology.workers["a"].replicas == 2
    assert topology.workers["b"].replicas == 3
    assert topology.workers["b"].handler == "app:W"


def test_a_mistake_behind_an_alias_is_told_once_where_it_stands() -> None:
    text = "version: 1\nx-w: &w {handler: app:W, replicas: no}\nworkers:\n  a: {<<: *w}\n  b: {<<: *w}\n"
    assert complaints(text) == [
        "2:36: workers.a.replicas: expected a whole number of at least 1, found 'no'",
    ]


def test_variables_are_filled_in_after_yaml_was_read() -> None:
    text = "version: 1\nname: ${NAME}\nworkers:\n  w: {handler: app:W, replicas: '${COPIES:-2}', environment: {A: '$${B}'}}\n"
    topology = read(text, {"NAME": "desk"})
    assert topology.name == "desk"
    assert topology.workers["w"].replicas == 2
    assert topology.workers["w"].environment == {"A": "${B}"}
    assert complaints(text, {"NAME": "desk}\nworkers: {}"}) == [
        "2:7: name: a name begins with a small letter and holds only small letters, digits, '-' and '_'",
    ]


def test_64_variables_that_the_hub_section_was_read_from_are_known() -> None:
    """Hazard 64: what held the hub's key must not be inherited by an agent process."""
    topology = read(
        "version: 1\nhub: {url: '${HUB:-local}', key: '${KEY}'}\nworkers:\n"
        "  w: {handler: app:W, environment: {A: '${REPLICAS}'}}\n"
    )
    assert topology.origin.withheld == {"HUB", "KEY"}


def test_64_no_secret_shows_in_a_topology_or_in_what_is_said_of_one() -> None:
    """Hazard 64: neither `repr`, nor a message, holds a key or a value that came from the environment."""
    good = read(
        "version: 1\nhub: {key: '${KEY}'}\nworkers:\n  w: {handler: app:W, environment: {TOKEN: '${SECRET}'}}\n"
    )
    assert "b" * 40 not in repr(good)
    assert ENVIRON["SECRET"] not in repr(good)
    for line in ("hub: {key: '${SECRET}'}", "hub: {url: '${SECRET}'}", "hub: {listen: '${SECRET}'}"):
        text = "\n".join(
            complaints(f"version: 1\n{line}\nworkers: {{w: {{handler: app:W, replicas: '${{SECRET}}'}}}}\n")
        )
        assert len(text.splitlines()) == 2
        assert ENVIRON["SECRET"] not in text
    text = "version: 1\nteams: {t: {members: ['${SECRET}']}}\nworkers: {w: {handler: app:W}}\n"
    assert complaints(text, {"SECRET": "sesame"}) == [
        "2:23: teams.t.members[0]: no agent called what '${SECRET}' stands for is declared; the file declares 'w'"
    ]
    for place in (
        "name: %s",
        "x-a: %s",
        "hub: {key: '%s'}",
        "%s: 1",
        "users: {u: {asks: ['%s']}}",
        "hub: {listen: '${K:-%s}'}",
    ):
        assert "sesame" not in "\n".join(complaints(f"version: 1\n{place % 'sk_id_a:sk_secret_sesame'}\n{DESK[11:]}"))


def test_a_mistake_found_later_can_be_pointed_at() -> None:
    origin = read(DESK).origin
    assert origin.at_value(("workers", "reviewer", "handler"), "no") == Problem(
        "topology.yaml", 6, 23, "workers.reviewer.handler", "no"
    )
    assert origin.at_key(("presence", "lobby", "watchers"), "no").column == 57
    assert origin.at_value(("presence", "lobby", "members", 1), "no").column == 27
    assert origin.at_key(("workers", "narrator", "concurrency"), "no").line == 7


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_are_counted_however_they_end(ending: str) -> None:
    text = "version: 1\nworkers:\n  w: {handler: app:W, replicas: x}\n".replace("\n", ending)
    assert [line[:5] for line in complaints(text)] == ["3:33:"]
    assert [line[:5] for line in complaints(text.replace("x", "\x01"))] == ["3:33:"]


def test_columns_are_counted_in_characters_and_a_byte_order_mark_is_none() -> None:
    text = "version: 1\nworkers:\n  w: {name: 'Zoë 🙂 Ωmega', handler: app:W, replicas: x}\n"
    assert [line[:5] for line in complaints(text)] == [f"3:{text.splitlines()[2].index('x}') + 1}:"]
    assert complaints(b"\xef\xbb\xbf" + SMALLEST.encode()) == []


def test_bytes_that_are_no_text_are_told_with_their_place() -> None:
    assert complaints(b"version: 1\nname: caf\xe9\n") == [
        "2:10: the byte 0xe9 here is not UTF-8 text; save the file as UTF-8"
    ]
    assert complaints(SMALLEST.encode("utf-16"))[0].startswith("1:1: the byte 0xff")


def test_a_file_is_read_from_disk_and_named_as_the_user_named_it(tmp_path: Path) -> None:
    file = tmp_path / "desk.yaml"
    file.write_text(DESK.replace("replicas: 3", "replicas: thre"), encoding="utf-8")
    with pytest.raises(TopologyError) as caught:
        load_topology(file, {})
    assert caught.value.exit_code is ExitCode.INVALID
    assert str(caught.value).startswith(f"{file}:6:62: workers.reviewer.replicas: expected a whole number")


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="the file cannot be read: no such file or directory"):
        load_topology(tmp_path / "gone.yaml", {})
    with pytest.raises(TopologyError, match="the file cannot be read: is a directory"):
        load_topology(tmp_path, {})


KEY = re.compile(r"(?<=[ {])([a-z_]+)(?=:)|^([a-z_]+)(?=:)", re.MULTILINE)
LIST_OR_MAPPING = re.compile(r"(?<=: )[\[{]")


def test_every_misspelt_key_is_told_on_its_own_line() -> None:
    declared = {"editor", "researcher", "writer", "checker", "concierge", "desk", "lobby", "reader"}
    keys = [found for found in KEY.finditer(RICH) if found[0] not in declared]
    assert len(keys) > 40
    for found in keys:
        line = RICH.count("\n", 0, found.start()) + 1
        told = complaints(f"{RICH[: found.end()]}zz{RICH[found.end() :]}")
        assert any(one.startswith(f"{line}:") and f"unknown key '{found[0]}zz'" in one for one in told), (
            found[0],
            told,
        )


def test_every_value_of_another_kind_is_told_on_its_own_line() -> None:
    topology_lines = RICH.splitlines()
    for number, line in enumerate(topology_lines, start=1):
        for found in re.finditer(r"(?<=: )(?:\[[^]]*\]|\{[^}]*\}|\"[^\"]*\"|[^,}\n]+)", line):
            changed = [*topology_lines]
            changed[number - 1] = f"{line[: found.start()]}[{{a: b}}]{line[found.end() :]}"
            told = complaints("\n".join(changed))
            assert any(one.startswith(f"{number}:") for one in told), (line, told)
            assert not any("another kind of value" in one for one in told)
