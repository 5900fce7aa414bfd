"""Workers to which nobody hands anything: a warning, unless they have something else to do."""

from __future__ import annotations

import pytest

from orchestrator.topology.handlers import HandledTask, HandlerReport
from orchestrator.topology.plan import make_plan
from tests.topology.files import read

TWO = """\
version: 1
coordinators:
  boss: {handler: app:Boss, workers: [used]}
workers:
  used: {handler: app:Used}
  spare: {handler: app:Spare}
"""
SAID = (
    "topology.yaml:6:3: workers.spare: no coordinator lists this worker and no user asks it, so it gets no task; "
    "list it under 'workers' of a coordinator or 'asks' of a user, or declare it under 'agents'"
)


def warnings(text: str) -> list[str]:
    return [str(warning) for warning in make_plan(read(text), None).warnings]


def test_a_worker_that_nobody_lists_is_told() -> None:
    assert warnings(TWO) == [SAID]


@pytest.mark.parametrize(
    "more",
    [
        "users:\n  u: {asks: [spare]}\n",
        "teams:\n  t: {members: [spare, used]}\n",
        "agents:\n  a: {handler: app:A}\nusers:\n  u: {asks: [a, spare]}\n",
    ],
)
def test_one_that_is_asked_or_in_a_team_has_something_to_do(more: str) -> None:
    assert warnings(TWO + more) == []


def test_one_that_somebody_elsewhere_runs_is_no_exception_unless_it_is_asked() -> None:
    text = TWO.replace("{handler: app:Spare}", "{external: true, handles: [Add]}")
    assert warnings(text) == [SAID]
    assert warnings(f"{text}users:\n  u: {{asks: [spare]}}\n") == []


def test_one_with_scopes_of_its_own_has_something_to_do() -> None:
    assert warnings(TWO.replace("app:Spare}", "app:Spare, scopes: {subscribe: [news]}}")) == []


def test_of_one_that_takes_no_task_that_alone_is_told() -> None:
    task = HandledTask("Add", "task", "add", "int")
    reports = {
        "app:Boss": HandlerReport("app:Boss"),
        "app:Used": HandlerReport("app:Used", tasks=(task,)),
        "app:Spare": HandlerReport("app:Spare"),
    }
    told = [str(warning) for warning in make_plan(read(TWO), reports).warnings]
    assert [line for line in told if "spare" in line] == [
        "topology.yaml:6:20: workers.spare.handler: app:Spare handles no task, so this worker never has anything to do"
    ]
