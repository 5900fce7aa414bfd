"""Each key of a file that says everything, profiles too: misspelt or retyped, it is told on its own line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from orchestrator.errors import TopologyError
from orchestrator.topology.model import Agent, Hub, Topology
from tests.topology.files import complaints, read

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERYTHING: Final = """\
version: 1
name: farm
hub:
  url: local
  listen: 0.0.0.0:7700
  tls:
    cert: hub.pem
    key: hub.key
  key: ${KEY}
  token_ttl: 15m
  backplane: nats://10.0.0.1:1
store: sqlite:///farm.db
defaults:
  restart:
    condition: always
    delay: 1s
    max_delay: 60s
    max_attempts: 5
    window: 10m
  reconnect:
    max_attempts: unlimited
    max_delay: 9s
  start_method: spawn
  watchdog: 9s
coordinators:
  boss:
    handler: app:Boss
    workers: [ant, bee]
    reconnect:
      max_attempts: 4
workers:
  ant:
    handler: app:Ant
    name: The Ant
    replicas: 3
    concurrency: 2
    capabilities: [web]
    enabled: true
    environment:
      A: small
    inherit_environment: false
    start_method: fork
    watchdog: unlimited
    restart:
      condition: never
    reconnect:
      max_delay: 3s
    tasks:
      timeout: 5m
      delivery: at-least-once
      max_attempts: 4
      backoff:
        delay: 2s
        max_delay: 30s
    scopes:
      subscribe: [a/b]
      observe: [a/c]
      publish: [a/d]
      presence: [a/b]
      send: [x]
  bee:
    command: [node, x.js]
    handles: [Add]
agents:
  cow:
    external: true
    handles: [Add]
teams:
  desk:
    members: [ant, bee]
    channel: d/e
    claims:
      consistency: strong
      ttl: 30s
presence:
  hall:
    members: [ant]
    watchers: [boss, reader]
    channel: h
users:
  reader:
    asks: [boss]
    token_ttl: 1h
    scopes:
      send: [x]
profiles:
  small:
    hub:
      token_ttl: 3m
    workers:
      ant:
        replicas: 1
        tasks:
          backoff:
            delay: 3s
    teams:
      desk:
        claims:
          ttl: 20s
"""
LINES: Final = EVERYTHING.splitlines()
NAMES: Final = frozenset({"boss", "ant", "bee", "cow", "desk", "hall", "reader", "small", "A"})


def told(lines: list[str]) -> set[int]:
    try:
        read("\n".join(lines) + "\n")
    except TopologyError as error:
        return {problem.line for problem in error.problems}
    return set()


def misspelt(key: str) -> Iterator[str]:
    yield key[:-1] or "q"
    yield key + key[-1]
    yield key[1:] + key[0]
    yield key[0].upper() + key[1:]
    yield key.replace("_", "-") if "_" in key else f"{key}x"


def below(number: int) -> int:
    """Return the line, from 0, with which what stands under the key of a line has ended."""
    depth = len(LINES[number]) - len(LINES[number].lstrip())
    rest = range(number + 1, len(LINES))
    return next((at for at in rest if len(LINES[at]) - len(LINES[at].lstrip()) <= depth), len(LINES))


def test_the_file_is_valid_and_says_everything() -> None:
    assert complaints(EVERYTHING) == []
    said = {line.partition(":")[0].strip() for line in LINES}
    assert {*Topology.keys, *Hub.keys, *Agent.keys} - said == set()


@pytest.mark.parametrize("number", [n for n, line in enumerate(LINES) if line.partition(":")[0].strip() not in NAMES])
def test_a_misspelt_key_is_told_on_its_line(number: int) -> None:
    key = LINES[number].partition(":")[0].strip()
    for wrong in misspelt(key):
        assert number + 1 in told([*LINES[:number], LINES[number].replace(key, wrong, 1), *LINES[number + 1 :]]), wrong


@pytest.mark.parametrize("number", range(len(LINES)))
def test_a_value_of_another_kind_is_told_on_the_line_of_its_key(number: int) -> None:
    key, _, value = LINES[number].partition(":")
    for other in ("{a: b}", "[[a]]", "") if value else ("7", "word", "[a, b]", ""):
        assert number + 1 in told([*LINES[:number], f"{key}: {other}", *LINES[below(number) :]]), other
