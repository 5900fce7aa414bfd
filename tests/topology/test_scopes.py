"""Scopes follow from the file, and are exactly what the relations need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.protocol.codes import ALL_ACTIONS, Action
from orchestrator.protocol.tokens import Grants, allows
from orchestrator.topology.plan import make_plan
from tests.topology.files import DESK, DESK_REPORTS, SMALLEST, read

if TYPE_CHECKING:
    from orchestrator.topology.plan import Plan, Replica, UserPlan


def planned(text: str) -> Plan:
    return make_plan(read(text), None)


def grants_of(plan: Plan, peer_id: str) -> Grants:
    return next(replica.grants for replica in plan.replicas if replica.peer_id == peer_id)


REVIEWER = {
    number: Grants(
        subscribe=(f"tasks/reviewer.{number}", "pools/reviewer", "lobbies/lobby"),
        send=("lead", "cli/*"),
    )
    for number in (1, 2, 3)
}
CHECKER = Grants(
    subscribe=("teams/desk/state", "lobbies/lobby"),
    publish=("teams/desk/state",),
    presence=("teams/desk/state",),
    send=("lead", "checker.*", "cli/*"),
)
EXACT = {
    "lead": Grants(
        subscribe=("teams/desk/state", "lobbies/lobby"),
        observe=("pools/reviewer", "pools/narrator"),
        publish=("tasks/reviewer.*", "tasks/narrator", "teams/desk/state"),
        presence=("teams/desk/state",),
        send=("reviewer.*", "narrator", "checker.*", "cli/*"),
    ),
    "reviewer.1": REVIEWER[1],
    "reviewer.2": REVIEWER[2],
    "reviewer.3": REVIEWER[3],
    "narrator": Grants(
        subscribe=("tasks/narrator", "pools/narrator", "lobbies/lobby"),
        send=("lead", "cli/*"),
    ),
    "checker.1": CHECKER,
    "checker.2": CHECKER,
    "concierge": Grants(observe=("lobbies/lobby",), send=("cli/*",)),
}


@pytest.mark.parametrize("peer_id", EXACT)
def test_the_grants_of_the_code_desk_are_exactly_what_it_needs(peer_id: str) -> None:
    assert grants_of(planned(DESK), peer_id) == EXACT[peer_id]


def test_flat_claims_hold_all_that_the_grants_hold() -> None:
    plan = planned(DESK)
    holders: list[Replica | UserPlan] = [*plan.replicas, *plan.users]
    for holder in holders:
        grants = holder.grants
        assert set(holder.channels) == {*grants.subscribe, *grants.observe, *grants.publish}
        assert (Action.PUBLISH in holder.permissions) == bool(grants.publish)
        assert (Action.SEND in holder.permissions) == bool(grants.send)
        assert (Action.PRESENCE in holder.permissions) == bool(grants.presence or grants.observe)
        assert (Action.SUBSCRIBE in holder.permissions) == bool(grants.subscribe or grants.observe)
    assert plan.replicas[0].permissions == ALL_ACTIONS


def test_nobody_may_do_anything_outside_its_own_relations() -> None:
    plan = planned(DESK)
    reviewer, concierge = grants_of(plan, "reviewer.1"), grants_of(plan, "concierge")
    assert not allows(reviewer.subscribe, "tasks/reviewer.2")
    assert not allows(reviewer.publish, "tasks/reviewer.1")
    assert not allows(reviewer.send, "reviewer.2")
    assert not allows(reviewer.presence, "pools/reviewer")
    assert not allows(reviewer.presence, "lobbies/lobby")
    assert not allows(grants_of(plan, "checker.1").send, "reviewer.1")
    assert not allows(reviewer.send, "checker.1")
    assert not allows(concierge.subscribe, "lobbies/lobby")
    assert not allows(grants_of(plan, "lead").publish, "tasks/checker.1")
    assert not any("**" in pattern for replica in plan.replicas for pattern in replica.channels)


def test_the_pattern_of_an_agent_matches_no_other_agent() -> None:
    plan = planned(
        "version: 1\ncoordinators: {c: {handler: a:C, workers: [w]}}\nworkers:\n"
        "  w: {handler: a:W, replicas: 2}\n  w-2: {handler: a:W}\n  ww: {handler: a:W, replicas: 2}\n"
    )
    send = grants_of(plan, "c").send
    assert allows(send, "w.1")
    assert not any(allows(send, other) for other in ("w", "w-2", "ww.1", "wx", "user/w.1", "w.1/x"))


def test_users_and_the_agents_that_they_ask_may_write_to_each_other() -> None:
    plan = planned(f"{SMALLEST}users:\n  reader: {{asks: [boss]}}\n")
    reader = plan.user("reader")
    assert reader.grants == Grants(send=("boss",))
    assert grants_of(plan, "boss").send == ("helper.*", "reader/*", "cli/*")
    assert grants_of(plan, "helper.1").send == ("boss", "cli/*")
    assert reader.ask_peers == {"boss": ("boss",)}
    assert reader.metadata == {"asks": {"boss": ["boss"]}}


def test_agents_that_take_no_task_and_the_asker_have_nothing_to_say_to_each_other() -> None:
    plan = make_plan(read(DESK), DESK_REPORTS)
    assert plan.user("cli").grants == Grants(send=("lead", "reviewer.*", "narrator"))
    assert grants_of(plan, "lead").send == ("reviewer.*", "narrator", "checker.*", "cli/*")
    assert grants_of(plan, "checker.1").send == ("lead", "checker.*")
    assert grants_of(plan, "concierge").send == ()


def test_members_of_a_team_may_send_to_each_other_and_not_to_themselves_where_there_is_but_one() -> None:
    plan = planned(
        "version: 1\nagents:\n  a: {handler: x:A}\n  b: {handler: x:B, replicas: 1}\n  c: {handler: x:C, replicas: 2}\n"
        "  d: {handler: x:D}\nteams:\n  t: {members: [a, b, c]}\n  u: {members: [a, d]}\n"
    )
    sends = {replica.peer_id: set(replica.grants.send) - {"cli/*"} for replica in plan.replicas}
    assert sends == {
        "a": {"b.*", "c.*", "d"},
        "b.1": {"a", "b.*", "c.*"},  # it may get siblings while it runs, and is not started anew for that
        "c.1": {"a", "b.*", "c.*"},
        "c.2": {"a", "b.*", "c.*"},
        "d": {"a"},
    }


def test_an_agent_without_a_handler_takes_what_it_lists_and_nothing_else() -> None:
    plan = planned(
        "version: 1\nagents:\n  loud: {command: [loud], handles: [Shout]}\n  bell: {external: true}\n"
        "users:\n  reader: {asks: [bell]}\n"
    )
    assert plan.user("cli").grants == Grants(send=("loud",))
    assert grants_of(plan, "loud").send == ("cli/*",)
    assert grants_of(plan, "bell").send == ("reader/*",)


def test_a_user_observes_the_lobbies_that_it_watches() -> None:
    plan = planned(f"{SMALLEST}users:\n  reader: {{}}\npresence:\n  l: {{members: [boss], watchers: [reader]}}\n")
    reader = plan.user("reader")
    assert reader.grants == Grants(observe=("lobbies/l",))
    assert reader.observe == ("lobbies/l",)
    assert reader.permissions == {Action.SUBSCRIBE, Action.PRESENCE}
    assert [(seat.member, seat.watcher) for seat in reader.lobbies] == [(False, True)]


def test_who_is_listed_in_a_lobby_and_watches_it_is_listed_and_sees_the_others() -> None:
    plan = planned(f"{SMALLEST}presence:\n  l: {{members: [boss], watchers: [boss]}}\n")
    boss = plan.replicas[0]
    assert (boss.subscribe, boss.observe) == (("lobbies/l",), ("pools/helper",))
    assert boss.grants.presence == ("lobbies/l",)


def test_who_is_listed_in_a_lobby_and_does_not_watch_it_sees_nobody() -> None:
    plan = planned("version: 1\nagents:\n  a: {handler: a:A}\npresence:\n  l: {members: [a]}\n")
    listed = plan.replicas[0]
    assert listed.grants == Grants(subscribe=("lobbies/l",), send=("cli/*",))
    assert Action.PRESENCE not in listed.permissions


def test_a_coordinator_can_be_the_worker_of_another() -> None:
    plan = planned(
        "version: 1\ncoordinators:\n  top: {handler: a:T, workers: [middle]}\n"
        "  middle: {handler: a:M, replicas: 2, workers: [w]}\nworkers:\n  w: {handler: a:W}\n"
    )
    middle = plan.replicas_of("middle")[0]
    assert middle.role == "coordinator"
    assert (middle.inbox, middle.pool) == ("tasks/middle.1", "pools/middle")
    assert middle.grants == Grants(
        subscribe=("tasks/middle.1", "pools/middle"),
        observe=("pools/w",),
        publish=("tasks/w",),
        send=("top", "w", "cli/*"),
    )


def test_hand_written_scopes_are_added_and_nothing_waits_for_them() -> None:
    plan = planned(
        "version: 1\nworkers:\n  w: {handler: a:W, scopes: {publish: [audit/*], subscribe: [news], send: [ops/*]}}\n"
    )
    worker = plan.replicas[0]
    assert worker.grants.publish == ("audit/*",)
    assert worker.grants.send == ("cli/*", "ops/*")
    assert worker.channels == ("tasks/w", "pools/w", "news", "audit/*")
    assert worker.subscribe == ("tasks/w", "pools/w")


def test_the_asker_may_ask_everybody_who_may_take_tasks_however_many_there_are() -> None:
    assert planned(SMALLEST).user("cli").grants == Grants(send=("boss", "helper.*"))
    many = "".join(f"  w{number}: {{handler: a:W, replicas: 9}}\n" for number in range(200))
    asker = planned(f"version: 1\nworkers:\n{many}").user("cli")
    assert asker.grants == Grants(send=("*",))
    assert asker.ask_peers["w7"][8] == "w7.9"
    assert allows(asker.grants.send, "w7.9")
    assert not allows(asker.grants.send, "reader/alice")
