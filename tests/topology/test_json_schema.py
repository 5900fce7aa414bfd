"""The schema for editors: it is current, accepts what the loader accepts, and refuses what it plainly does not."""

from __future__ import annotations

import ast
import random
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orchestrator.cli.schema import text
from orchestrator.errors import TopologyError
from orchestrator.topology.json_schema import FILE_NAME, topology_schema
from orchestrator.topology.key_descriptions import DESCRIPTIONS
from orchestrator.topology.load import load_topology, parse_topology
from orchestrator.topology.section import Section
from tests.topology.editor_view import findings, seen
from tests.topology.files import ENVIRON, SMALLEST, complaints
from tests.topology.random_files import random_tree, written

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "examples.yaml", *sorted((ROOT / "topologies").glob("*.yaml"))]


def accepted(raw: str) -> bool:
    return not complaints(raw)


def corpus() -> list[str]:
    """Return every text in the tests, and every fence in the documents, that is a topology by itself."""
    sources = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py"))]
    texts = [
        node.value
        for source in sources
        if "version: 1" in source
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "version: 1\n" in node.value
    ]
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        texts += re.findall(r"^```yaml\n(.*?)^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [found for found in dict.fromkeys(texts) if accepted(found)]


CORPUS = corpus()


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(topology_schema())


def test_the_committed_schema_is_current() -> None:
    committed = (ROOT / "topologies" / FILE_NAME).read_text(encoding="utf-8")
    assert committed == text(), f"write it anew: orchestrator schema > topologies/{FILE_NAME}"


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_every_topology_that_ships_is_valid_and_says_where_the_schema_is(file: Path) -> None:
    assert findings(file.read_text(encoding="utf-8")) == []
    [named] = re.findall(r"^# yaml-language-server: \$schema=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert (file.parent / named).resolve() == ROOT / "topologies" / FILE_NAME


def test_there_is_a_corpus() -> None:
    assert len(CORPUS) > 15


@pytest.mark.parametrize("raw", CORPUS, ids=range(len(CORPUS)))
def test_what_the_loader_accepts_is_valid(raw: str) -> None:
    assert findings(raw) == []


def test_random_files_that_the_loader_accepts_are_valid() -> None:
    checked = 0
    for seed in range(200):
        raw = written(random_tree(random.Random(seed))).text
        if accepted(raw):
            checked += 1
            assert findings(raw) == [], raw
    assert checked > 150


EVERYTHING = """\
version: 1
x-mine: [1, {a: b}]
name: newsroom
hub:
  url: ${HUB_URL:-local}
  listen: "[::1]:7700"
  key: ${HUB_KEY:-}
  token_ttl: 900
  backplane: memory
  x-note: said by the author
store: sqlite:///newsroom.db
defaults:
  restart: {condition: on-failure, delay: 0, max_delay: 60s, max_attempts: unlimited, window: 10m}
  reconnect: {max_attempts: "${REPLICAS}", max_delay: 1.5m}
coordinators:
  editor: {handler: agents.newsroom:Editor, workers: [researcher, writer, translator]}
workers:
  researcher:
    handler: agents.newsroom:Researcher
    replicas: ${REPLICAS}
    concurrency: 4
    capabilities: [web, 3.11]
    tasks: {delivery: at-least-once, timeout: 2m, max_attempts: 4, backoff: {delay: 2s, max_delay: 60s}}
  writer:
    handler: agents.newsroom
    scopes: {publish: [audit/drafts, 404]}
    environment: {MODEL: small, RETRIES: 3, VERBOSE: true, SINCE: 2024-01-01, ANSWER: no, X_KEY: "${SECRET}"}
    restart: {delay: 150ms, x-why: flaky}
  translator: {command: [node, translator.js, 3, true], handles: [Translate]}
agents:
  checker: {handler: agents.newsroom:Checker, external: false, enabled: "${ON:-true}", name: 7}
  far: {external: true}
teams:
  desk: {channel: team_42/state, members: [researcher, checker], claims: {consistency: strong, ttl: 30}}
presence:
  lobby: {channel: agents-lobby, members: [editor, writer], watchers: [checker, reader]}
users:
  reader: {asks: [editor], token_ttl: 1h}
profiles:
  dev: {version: 1, workers: {researcher: {replicas: 1}}, teams: {desk: {claims: {ttl: 5s}}}}
"""


def test_everything_that_a_file_can_say_is_valid() -> None:
    assert complaints(EVERYTHING) == []
    assert findings(EVERYTHING) == []


def test_a_file_that_includes_another_may_leave_things_out(tmp_path: Path) -> None:
    (tmp_path / "whole.yaml").write_text(SMALLEST)
    part = "include: [whole.yaml]\nworkers:\n  helper: {replicas: 2}\n"
    (tmp_path / "part.yaml").write_text(part)
    assert load_topology(tmp_path / "part.yaml", {}).workers["helper"].replicas == 2
    assert findings(part) == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("version: 1\n", "", "$"),
        ("version: 1", "version: 2", "$.version"),
        ("coordinators:", "cordinators:", "$"),
        ("replicas: 3", "replcas: 3", "$.workers.helper"),
        ("replicas: 3", "replicas: three", "$.workers.helper.replicas"),
        ("replicas: 3", "replicas: '3'", "$.workers.helper.replicas"),
        ("replicas: 3", "replicas: 0", "$.workers.helper.replicas"),
        ("replicas: 3", "replicas: 1.5", "$.workers.helper.replicas"),
        ("replicas: 3", "replicas: [3]", "$.workers.helper.replicas"),
        ("replicas: 3", "replicas:", "$.workers.helper.replicas"),
        ("replicas: 3", "enabled: no", "$.workers.helper.enabled"),
        ("replicas: 3", "tasks: {timeout: 2 minutes}", "$.workers.helper.tasks.timeout"),
        ("replicas: 3", "tasks: {delivery: exactly-once}", "$.workers.helper.tasks.delivery"),
        ("replicas: 3", "restart: {condition: sometimes}", "$.workers.helper.restart.condition"),
        ("replicas: 3", "environment: {A: [b]}", "$.workers.helper.environment.A"),
        ("replicas: 3", "environment: {1A: b}", "$.workers.helper.environment"),
        ("replicas: 3", "command: [a]", "$.workers.helper"),
        ("replicas: 3", "handles: Add", "$.workers.helper.handles"),
        ("handler: app:Helper, ", "", "$.workers.helper"),
        ("app:Boss", "app/boss.py:Boss", "$.coordinators.boss.handler"),
        (", workers: [helper]", "", "$.coordinators.boss"),
        ("workers: [helper]", "workers: helper", "$.coordinators.boss.workers"),
        ("  helper:", "  Helper:", "$.workers"),
        ("version: 1", "version: 1\nhub: {url: http://a}", "$.hub.url"),
        ("version: 1", "version: 1\nhub: {key: abc}", "$.hub.key"),
        ("version: 1", "version: 1\nstore: mysql://a", "$.store"),
        ("version: 1", "version: 1\nteams: {t: {}}", "$.teams.t"),
        ("version: 1", "version: 1\nprofiles: {p: {workers: {helper: {replcas: 1}}}}", "$.profiles.p.workers.helper"),
        ("version: 1", "version: 1\ninclude: [1]", "$.include"),
    ],
)
def test_what_no_loader_accepts_is_underlined_where_it_stands(old: str, new: str, path: str) -> None:
    raw = SMALLEST.replace(old, new, 1)
    assert raw != SMALLEST
    assert path in [finding.partition(": ")[0] for finding in findings(raw)]
    with pytest.raises(TopologyError):
        parse_topology(raw.encode(), ENVIRON, source="t.yaml", path=Path("t.yaml"))


def every_key(schema: Any) -> list[Any]:
    if isinstance(schema, dict):
        own = list(schema["properties"].values()) if "additionalProperties" in schema and "properties" in schema else []
        return own + [found for value in schema.values() for found in every_key(value)]
    return []


def test_every_key_is_described() -> None:
    keys = every_key(topology_schema())
    assert len(keys) > 60
    assert all(key["description"].endswith(".") for key in keys)


def test_nothing_is_described_that_is_no_key() -> None:
    sections = {section.__name__: section for section in subclasses(Section)}
    for name, keys in DESCRIPTIONS.items():
        assert set(keys) <= set(sections[name].keys)


def subclasses(kind: type[Section]) -> list[type[Section]]:
    return [found for each in kind.__subclasses__() for found in (each, *subclasses(each))]


def test_every_default_is_one_that_the_schema_itself_accepts() -> None:
    definitions = topology_schema()["$defs"]
    found = 0
    for key in every_key({"properties": {}, "additionalProperties": False, **definitions}):
        if "default" in key:
            found += 1
            Draft202012Validator({"$defs": definitions, **key}).validate(key["default"])
    assert found > 10


def test_an_editor_reads_words_as_yaml_1_2_has_them() -> None:
    assert seen("[no, 12:30, 2024-01-01, 010, 1.5, true, ~]") == ["no", "12:30", "2024-01-01", 10, 1.5, True, None]
