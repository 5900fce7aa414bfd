"""docs/shared-stores.md: what it demands is what is looked at, and what it allows is what is used. Its topologies are checked
with those of all documents, and its rules by a server in tests/store/test_redis_server.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.store import nats_clock, nats_engine, redis, redis_link, redis_links
from orchestrator.store.nats_subjects import Subjects
from orchestrator.store.redis_address import key_space
from orchestrator.store.redis_fitness import facts_of, unfit
from orchestrator.store.shared import Needs, open_shared_store
from tests.brokers import JETSTREAM, nats_server, needs_client
from tests.store.task_stores import new

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "shared-stores.md").read_text(encoding="utf-8")
PROSE = " ".join(TEXT.split())
INFO = {"redis_version": "7.2.0", "role": "master", "maxmemory_policy": "noeviction", "aof_enabled": "1"}
SETTINGS = {"appendfsync": "always", "no-appendfsync-on-rewrite": "no"}


@pytest.mark.parametrize(
    ("sentence", "figure"),
    [
        (
            "a request without an answer ends after | has one | 10 s | 10 s | 5 s",
            (redis.ANSWER, nats_engine.ANSWER) == (5, 10),
        ),
        ("every five seconds of use", redis_link.LOOKED_AT == 5),
        ("up to eight connections", redis_links.MOST == 8),
        ("the leading server's; up to 0.5 s late", nats_clock.SKEW == 0.5),
        ("`orchestrator_store_newsroom", Subjects("newsroom").stream == "orchestrator_store_newsroom"),
        ('"orchestrator_store.newsroom.>"', Subjects("newsroom").everything == "orchestrator_store.newsroom.>"),
        ("~orchestrator:{NAMESPACE}:*", key_space("NAMESPACE") == "orchestrator:{NAMESPACE}:"),
    ],
)
def test_its_figures_are_those_of_the_code(sentence: str, figure: bool) -> None:
    assert sentence.strip("`") in PROSE
    assert figure


@pytest.mark.parametrize(
    ("info", "settings"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, {}),
        ({"aof_enabled": "0"}, {}),
        ({}, {"appendfsync": "everysec"}),
        ({}, {"no-appendfsync-on-rewrite": "yes"}),
        ({}, None),
    ],
)
def test_every_setting_that_is_demanded_is_told(info: dict[str, str], settings: dict[str, str] | None) -> None:
    lines = "\n".join(f"{name}:{value}" for name, value in (INFO | info).items())
    problem = unfit(facts_of(lines, None if settings is None else SETTINGS | settings), Needs(), allow_loss=False)
    assert problem is not None
    demanded = re.findall(r"(?:set|user|and) '([^']+)'", problem)
    assert demanded
    assert [setting for setting in demanded if f"`{setting}`" not in TEXT.replace("\\|", "|")] == []


def test_the_rules_of_redis_allow_what_scripts_do_and_no_more() -> None:
    [rules] = re.findall(r"^ACL SETUSER (.*)$", TEXT, re.MULTILINE)
    allowed = {word[1:] for word in rules.split() if word.startswith("+")}
    scripts = (ROOT / "orchestrator" / "store" / "redis_lua").glob("*.lua")
    done = {name.lower() for script in scripts for name in re.findall(r"call\('(\w+)'", script.read_text())}
    assert allowed == done | {"auth", "select", "info", "config|get", "eval", "evalsha"}


async def test_the_rules_of_nats_are_enough(tmp_path: Path) -> None:
    needs_client("nats", "nats-py")
    [rules] = re.findall(r"^permissions: \{\n(.*?)^\}$", TEXT, re.MULTILINE | re.DOTALL)
    user = f"{{ user: orchestrator, password: secret, permissions: {{ {rules} }} }}"
    config = f"{JETSTREAM.format(folder=tmp_path)}authorization: {{ users: [ {user} ] }}\n"
    with nats_server(tmp_path, config=config) as broker:
        url = f"nats://orchestrator:secret@127.0.0.1:{broker.port}?sync=always"
        async with open_shared_store(url, namespace="newsroom", needs=Needs()) as store:
            await store.tasks.enqueue([new(key="k", expires=5.0)])
            (leased,) = (await store.tasks.claim("helper", "helper.1")).tasks
            assert (await store.tasks.once(leased.hold, "effect")).first
            await store.tasks.complete(leased.hold, b"1")
            assert (await store.tasks.stats())[0].done == 1
            assert await store.tasks.purge(0) == 1
            assert await store.leases.acquire("x", "a/1", 10) is not None
