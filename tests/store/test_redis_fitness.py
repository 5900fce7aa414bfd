"""Which servers of Redis are refused, and what is said then."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.store.redis_fitness import ServerFacts, cannot_serve, facts_of, keeps, unfit
from orchestrator.store.shared import Needs

GOOD = ServerFacts(
    version=(7, 2, 4),
    mode="standalone",
    role="master",
    replicated=False,
    eviction="noeviction",
    log=True,
    sync="always",
    sync_rests=False,
)
ANYTHING, TASKS, CLAIMS = Needs(False, False), Needs(True, False), Needs(False, True)
UNSAFE = Needs(False, True, allow_unsafe_claims=True)
FORGETFUL: list[tuple[dict[str, Any], str]] = [
    ({"log": False}, "set 'appendonly yes' and 'appendfsync always'"),
    ({"sync": None}, r"allow this user '\+config\|get'"),
    ({"sync": "everysec"}, r"\(appendfsync everysec\).*set 'appendfsync always'"),
    ({"sync_rests": True}, "set 'no-appendfsync-on-rewrite no'"),
    ({"replicated": True}, "is replicated.*without replicas, or NATS"),
]
INFO = (
    "# Server\r\nredis_version:7.2.4\r\nredis_mode:standalone\r\nmaxmemory_policy:noeviction\r\n"
    "aof_enabled:1\r\nrole:master\r\nconnected_slaves:0\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:0\r\n"
)
SETTINGS = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}


@pytest.mark.parametrize("needs", [ANYTHING, TASKS, CLAIMS, UNSAFE])
def test_a_server_that_forgets_nothing_is_fit_for_all(needs: Needs) -> None:
    assert unfit(GOOD, needs, allow_loss=False) is None
    assert (keeps(GOOD).durable, keeps(GOOD).strong) == (True, True)


@pytest.mark.parametrize(("more", "said"), FORGETFUL)
def test_a_server_that_may_forget_keeps_neither_tasks_nor_claims(more: dict[str, Any], said: str) -> None:
    facts = replace(GOOD, **more)
    for needs, way_out in ((TASKS, r"\?allow_loss=true"), (CLAIMS, "allow_unsafe_claims: true")):
        problem = unfit(facts, needs, allow_loss=False)
        assert re.search(f"{said}.*{way_out}", problem or "")
    assert (keeps(facts).durable, keeps(facts).strong, keeps(facts).fenced) == (False, False, True)


@pytest.mark.parametrize("more", [more for more, _ in FORGETFUL])
def test_each_loss_is_allowed_by_its_own_word(more: dict[str, Any]) -> None:
    facts = replace(GOOD, **more)
    assert unfit(facts, ANYTHING, allow_loss=False) is None
    assert unfit(facts, TASKS, allow_loss=True) is None
    assert unfit(facts, UNSAFE, allow_loss=False) is None
    assert unfit(facts, CLAIMS, allow_loss=True) is not None
    assert unfit(facts, Needs(True, True, allow_unsafe_claims=True), allow_loss=False) is not None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"eviction": "allkeys-lru"}, "set 'maxmemory-policy noeviction'"),
        ({"mode": "sentinel"}, "name the server that it watches"),
        ({"version": (6, 0, 9)}, "from 6.2 on"),
    ],
)
def test_what_no_word_allows(more: dict[str, Any], said: str) -> None:
    problem = unfit(replace(GOOD, **more), Needs(False, False, allow_unsafe_claims=True), allow_loss=True)
    assert problem is not None
    assert said in problem


def test_a_replica_is_not_asked_for_anything() -> None:
    assert cannot_serve(GOOD) is None
    assert "name the primary" in str(cannot_serve(replace(GOOD, role="slave")))


def test_what_a_server_says_is_read() -> None:
    assert facts_of(INFO, SETTINGS) == GOOD


@pytest.mark.parametrize(
    "line",
    [
        "redis_mode:cluster",
        "redis_mode:\r\nserver_mode:cluster",
        "connected_slaves:1",
        "second_repl_offset:17",
        "repl_backlog_active:1",
    ],
)
def test_a_server_that_has_or_had_others_beside_it_is_replicated(line: str) -> None:
    assert facts_of(f"{INFO}{line}\r\n", SETTINGS).replicated


def test_settings_that_nobody_told_are_unknown() -> None:
    assert facts_of(INFO, None).sync is None
    assert facts_of("nonsense", {}).version == (0,)
