"""File and code are compared before anything starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import TopologyError
from orchestrator.topology.handlers import HandlerFault, HandlerReport, Relation
from orchestrator.topology.plan import make_plan
from tests.topology.files import DESK, DESK_REPORTS, read

LEAD, REVIEWER, CHECKER, CONCIERGE = (
    DESK_REPORTS[f"agents.code_desk:{name}"] for name in ("Lead", "Reviewer", "Checker", "Concierge")
)


def told(*changed: HandlerReport, text: str = DESK) -> list[str]:
    """Return the problems that these reports make, else the warnings."""
    reports: dict[str, HandlerReport | HandlerFault] = {**DESK_REPORTS, **{one.handler: one for one in changed}}
    try:
        found = make_plan(read(text), reports).warnings
    except TopologyError as error:
        found = error.problems
    return [str(problem).removeprefix("topology.yaml:") for problem in found]


def with_relations(report: HandlerReport, *relations: Relation) -> HandlerReport:
    return replace(report, relations=relations)


def test_a_file_that_fits_its_code_has_nothing_said_of_it() -> None:
    assert told() == []


def test_a_team_attribute_that_names_no_team_is_an_error() -> None:
    assert told(with_relations(CHECKER, Relation("desc", "team"))) == [
        (
            "9:22: agents.checker.handler: the attribute 'desc' of agents.code_desk:Checker names no team of this file"
            " (did you mean 'desk'?)"
        )
    ]
    assert told(with_relations(CHECKER, Relation("zebra", "team"))) == [
        (
            "9:22: agents.checker.handler: the attribute 'zebra' of agents.code_desk:Checker names no team of this file"
            "; those of 'checker' are 'desk'"
        )
    ]


def test_a_team_attribute_of_an_agent_outside_the_team_is_an_error() -> None:
    assert told(with_relations(REVIEWER, Relation("desk", "team"))) == [
        (
            "6:23: workers.reviewer.handler: the attribute 'desk' of agents.code_desk:Reviewer is the team 'desk',"
            " which does not list 'reviewer' among its members"
        )
    ]


def test_a_lobby_attribute_needs_a_place_among_its_watchers() -> None:
    watched = with_relations(REVIEWER, Relation("lobby", "presence"))
    assert told(watched, text=DESK.replace("watchers: [concierge]", "watchers: [concierge, reviewer]")) == []
    assert told(watched, text=DESK.replace("members: [lead, reviewer, ", "members: [lead, ")) == [
        (
            "6:23: workers.reviewer.handler: the attribute 'lobby' of agents.code_desk:Reviewer is the lobby 'lobby',"
            " which does not list 'reviewer' among its watchers"
        )
    ]


def test_a_lobby_attribute_of_a_mere_member_is_an_error() -> None:
    assert told(with_relations(REVIEWER, Relation("lobby", "presence"))) == [
        (
            "6:23: workers.reviewer.handler: the attribute 'lobby' of agents.code_desk:Reviewer is the lobby 'lobby',"
            " of which 'reviewer' is a member; to see who is there, list it under 'watchers'"
        )
    ]


def test_a_lobby_attribute_that_names_no_lobby_is_an_error() -> None:
    assert told(with_relations(REVIEWER, Relation("lobbi", "presence"))) == [
        (
            "6:23: workers.reviewer.handler: the attribute 'lobbi' of agents.code_desk:Reviewer names no lobby of this file"
            " (did you mean 'lobby'?)"
        )
    ]


def test_a_dash_in_the_file_is_an_underscore_in_code() -> None:
    text = DESK.replace("desk: {members", "night-desk: {members")
    assert (
        told(
            with_relations(LEAD, Relation("workers", "workers"), Relation("night_desk", "team")),
            with_relations(CHECKER, Relation("night_desk", "team")),
            text=text,
        )
        == []
    )


def test_only_a_coordinator_has_workers() -> None:
    assert told(with_relations(REVIEWER, Relation("workers", "workers"))) == [
        (
            "6:23: workers.reviewer.handler: the attribute 'workers' of agents.code_desk:Reviewer needs workers,"
            " and only an agent under 'coordinators' has any"
        )
    ]


def test_a_coordinator_whose_workers_handle_nothing_is_an_error() -> None:
    silent = [replace(DESK_REPORTS[f"agents.code_desk:{name}"], tasks=()) for name in ("Reviewer", "Narrator")]
    assert told(*silent) == [
        "4:44: coordinators.lead.workers: none of the workers of 'lead' handles any task: 'reviewer' and 'narrator'"
    ]


def test_a_worker_that_handles_nothing_is_a_warning() -> None:
    assert told(replace(REVIEWER, tasks=())) == [
        (
            "6:23: workers.reviewer.handler: agents.code_desk:Reviewer handles no task,"
            " so this worker never has anything to do"
        )
    ]


def test_a_relation_that_a_class_never_uses_is_a_warning() -> None:
    assert told(
        with_relations(LEAD),
        replace(CHECKER, relations=(), events=()),
        replace(CONCIERGE, relations=(), watches_presence=False),
    ) == [
        (
            "4:44: coordinators.lead.workers: agents.code_desk:Lead has no attribute of the type Workers,"
            " so these workers get nothing from it"
        ),
        "12:20: teams.desk.members[0]: agents.code_desk:Lead has no attribute 'desk: Team' and hears no event",
        "12:26: teams.desk.members[1]: agents.code_desk:Checker has no attribute 'desk: Team' and hears no event",
        (
            "14:68: presence.lobby.watchers[0]: agents.code_desk:Concierge has no attribute 'lobby: Presence'"
            " and no @on_presence"
        ),
    ]


def test_functions_of_a_module_reach_their_relations_without_attributes() -> None:
    text = DESK.replace("agents.code_desk:Checker", "agents.checking")
    assert told(HandlerReport("agents.checking"), text=text) == []


def test_a_user_that_asks_an_agent_without_tasks_is_warned_of() -> None:
    assert told(text=f"{DESK}users:\n  reader: {{asks: [lead, concierge]}}\n") == [
        "16:25: users.reader.asks[1]: 'concierge' handles no task, so it cannot answer 'reader'"
    ]


def test_every_misfit_is_told_at_once() -> None:
    lines = told(with_relations(REVIEWER, Relation("desk", "team")), with_relations(CHECKER, Relation("x", "team")))
    assert [line.split(":")[0] for line in lines] == ["6", "9"]


def test_a_handler_that_nobody_looked_at_is_an_error() -> None:
    with pytest.raises(TopologyError, match="this handler was not looked at"):
        make_plan(read(DESK), {})
