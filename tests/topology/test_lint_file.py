"""ORC101, ORC105 and ORC106: what a file says of delivery, of the life of tokens, and of scopes."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.topology.lint import lint
from orchestrator.topology.load import load_topology
from tests.topology.linting import NOW, findings, sources

TASKS = """\
version: 1
%s
coordinators:
  boss: {handler: 'app:Boss', workers: [helper]}
workers:
  helper:
    handler: app:Helper
    tasks: %s
"""


def test_at_least_once_needs_a_store_that_lasts() -> None:
    assert findings(TASKS % ("store: 'memory:'", "{delivery: at-least-once}")) == [
        (
            "8:23: workers.helper.tasks.delivery: at-least-once needs a store that outlives a crash, and 'memory:' ends with "
            "its process: 'store: sqlite:///tasks.db', or none for a file in '.orchestrator' [ORC101]"
        )
    ]


def test_without_a_store_at_least_once_gets_a_file() -> None:
    assert findings(TASKS % ("", "{delivery: at-least-once}")) == []


@pytest.mark.parametrize("tasks", ["{delivery: at-least-once, max_attempts: 3, backoff: {delay: 1s}}", "{timeout: 3s}"])
def test_what_a_store_keeps_may_be_tried_again(tasks: str) -> None:
    assert findings(TASKS % ("store: sqlite:///tasks.db", tasks)) == []


def test_retries_at_most_once_have_no_effect() -> None:
    assert findings(TASKS % ("", "{max_attempts: 3, backoff: {delay: 1s}}")) == [
        (
            "8:13: workers.helper.tasks.max_attempts: 'max_attempts' has no effect: an at-most-once task is never tried again"
            " [ORC101]"
        ),
        "8:30: workers.helper.tasks.backoff: 'backoff' has no effect: an at-most-once task is never tried again [ORC101]",
    ]


HUB = "version: 1\nhub: {url: '%s', key: '${KEY}', token_ttl: %s}\nworkers:\n  w: {handler: 'app:W'}\n"
LOCAL = "version: 1\nhub: {token_ttl: 12h}\nworkers:\n  w: {handler: 'app:W'}\n"


def test_agents_need_no_long_tokens() -> None:
    assert findings(HUB % ("wss://hub.example", "12h")) == [
        (
            "2:59: hub.token_ttl: the tokens of agents are renewed while they run, so 12 h serves nobody but whoever steals "
            "one; '15m' is the default [ORC105]"
        )
    ]


@pytest.mark.parametrize("text", [HUB % ("wss://hub.example", "1h"), LOCAL])
def test_an_hour_is_short_and_a_hub_of_this_run_is_nobody_elses(text: str) -> None:
    assert findings(text) == []


SCOPES = """\
version: 1
coordinators:
  boss: {handler: 'app:Boss', workers: [helper]}
workers:
  helper:
    handler: app:Helper
    replicas: 2
    scopes: %s
users:
  reader: {asks: [boss], scopes: %s}
"""


@pytest.mark.parametrize(
    ("agent", "user", "finding"),
    [
        (
            "{subscribe: ['**']}",
            "{}",
            (
                "8:26: workers.helper.scopes.subscribe[0]: this is wider than 'tasks/helper.1', which the file derives; name "
                "what is needed beside it [ORC106]"
            ),
        ),
        (
            "{publish: [audit/drafts, 'audit/**']}",
            "{}",
            (
                "8:38: workers.helper.scopes.publish[1]: '**' in 'audit/**' reaches names of any depth; name them, or use "
                "'*', which stays within one level [ORC106]"
            ),
        ),
        (
            "{send: ['bo*']}",
            "{}",
            (
                "8:21: workers.helper.scopes.send[0]: this is wider than 'boss', which the file derives; name what is needed "
                "beside it [ORC106]"
            ),
        ),
        (
            "{subscribe: [pools/helper]}",
            "{}",
            (
                "8:26: workers.helper.scopes.subscribe[0]: to subscribe 'pools/helper' follows from the file already; take "
                "this line out [ORC106]"
            ),
        ),
        (
            "{}",
            "{send: ['*']}",
            (
                "10:42: users.reader.scopes.send[0]: this is wider than 'boss', which the file derives; name what is needed "
                "beside it [ORC106]"
            ),
        ),
    ],
)
def test_scopes_wider_than_derived_are_told_with_what_is_derived(agent: str, user: str, finding: str) -> None:
    assert findings(SCOPES % (agent, user)) == [finding]


@pytest.mark.parametrize(
    "scopes",
    [
        "{publish: [audit/drafts]}",
        "{subscribe: ['audit/*'], presence: [audit/drafts]}",
        r"{subscribe: ['a\*\*b']}",
        "{subscribe: [tasks/helper.1]}",  # of the other replica it is not derived
        "{send: ['other/*']}",
    ],
)
def test_scopes_beside_the_derived_ones_are_fine(scopes: str) -> None:
    assert findings(SCOPES % (scopes, "{subscribe: [news]}")) == []


def test_a_finding_in_an_included_file_stands_there(tmp_path: Path) -> None:
    (tmp_path / "part.yaml").write_text(SCOPES % ("{publish: ['**']}", "{}"))
    whole = tmp_path / "whole.yaml"
    whole.write_text("include: part.yaml\nversion: 1\n")
    found = lint(load_topology(whole, {}), sources({}), now=NOW)
    assert [(Path(problem.source).name, problem.line) for problem in found.warnings] == [("part.yaml", 8)]


def test_a_profile_counts_where_it_is_applied(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    wide = "profiles:\n  wide: {workers: {helper: {scopes: {publish: ['**']}}}}\n"
    file.write_text(SCOPES % ("{}", "{}") + wide)
    assert lint(load_topology(file, {}), sources({}), now=NOW).warnings == ()
    found = lint(load_topology(file, {}, ["wide"]), sources({}), now=NOW)
    assert [(problem.code, problem.line) for problem in found.warnings] == [("ORC106", 12)]
