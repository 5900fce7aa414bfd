from __future__ import annotations

import msgspec
import pytest

from orchestrator.errors import TopologyError
from orchestrator.protocol.tokens import SecretKey, mint, verify
from orchestrator.topology.handlers import HandlerFault, HandlerReport
from orchestrator.topology.plan import HubPlan, LobbySeat, Pool, Replica, TeamSeat, UserPlan, make_plan
from tests.topology.files import DESK, DESK_REPORTS, NARRATE, REVIEW, SMALLEST, read

KEY = SecretKey("sk_id_test", "sk_secret_" + "s" * 40)


def test_every_replica_of_the_code_desk_is_planned() -> None:
    plan = make_plan(read(DESK), DESK_REPORTS)
    assert [(replica.peer_id, replica.role, replica.inbox, replica.pool) for replica in plan.replicas] == [
        ("lead", "coordinator", None, None),
        ("reviewer.1", "worker", "tasks/reviewer.1", "pools/reviewer"),
        ("reviewer.2", "worker", "tasks/reviewer.2", "pools/reviewer"),
        ("reviewer.3", "worker", "tasks/reviewer.3", "pools/reviewer"),
        ("narrator", "worker", "tasks/narrator", "pools/narrator"),
        ("checker.1", "agent", None, None),
        ("checker.2", "agent", None, None),
        ("concierge", "agent", None, None),
    ]
    assert plan.name == "code-desk"
    assert [user.user for user in plan.users] == ["cli"]
    assert plan.hub == HubPlan(None, "127.0.0.1", 0, 900.0)
    assert plan.warnings == ()


def test_a_coordinator_knows_which_worker_takes_which_task() -> None:
    lead = make_plan(read(DESK), DESK_REPORTS).replicas[0]
    assert lead.pools == (
        Pool("reviewer", "pools/reviewer", ("reviewer.1", "reviewer.2", "reviewer.3"), 1, (), (REVIEW,)),
        Pool("narrator", "pools/narrator", ("narrator",), 1, (), (NARRATE,)),
    )
    assert lead.teams == (TeamSeat("desk", "teams/desk/state", ("lead", "checker.1", "checker.2")),)
    assert lead.lobbies == (
        LobbySeat("lobby", "lobbies/lobby", True, False, ("lead", "reviewer", "checker", "narrator")),
    )
    assert lead.concurrency == 16


def test_one_copy_is_named_like_its_agent_and_one_replica_is_numbered() -> None:
    plan = make_plan(read("version: 1\nworkers:\n  a: {handler: x}\n  b: {handler: x, replicas: 1}\n"), None)
    assert [(replica.peer_id, replica.replica) for replica in plan.replicas] == [("a", None), ("b.1", 1)]
    assert plan.replicas[0].peer_metadata == {
        "kind": "agent",
        "agent": "a",
        "name": "a",
        "role": "worker",
        "capabilities": [],
    }
    assert plan.replicas[1].peer_metadata["replica"] == 1


def test_what_the_file_says_of_an_agent_reaches_its_replicas() -> None:
    plan = make_plan(
        read(
            "version: 1\ndefaults: {restart: {max_attempts: unlimited}, reconnect: {max_delay: 5s}}\nworkers:\n"
            "  w:\n    handler: x\n    name: The Worker\n    concurrency: 4\n    capabilities: [pdf]\n"
            "    tasks: {timeout: 2m}\n    environment: {A: 1}\n    inherit_environment: false\n"
            "    restart: {condition: always}\n"
        ),
        None,
    )
    worker = plan.replicas[0]
    assert (worker.name, worker.concurrency, worker.capabilities) == ("The Worker", 4, ("pdf",))
    assert (worker.environment, worker.inherit_environment) == ({"A": "1"}, False)
    assert (worker.restart.condition, worker.restart.max_attempts, worker.restart.delay) == ("always", None, 1.0)
    assert (worker.reconnect.max_attempts, worker.reconnect.max_delay) == (100, 5.0)
    assert worker.peer_metadata["capabilities"] == ["pdf"]


@pytest.mark.parametrize(
    ("defaults", "own", "meant"),
    [
        ("", "", ("fork", 20.0)),
        ("start_method: spawn, watchdog: 5s", "", ("spawn", 5.0)),
        ("start_method: spawn, watchdog: 5s", ", start_method: fork, watchdog: 1m", ("fork", 60.0)),
        ("watchdog: 5s", ", watchdog: unlimited", ("fork", None)),
        ("watchdog: unlimited", "", ("fork", None)),
        ("watchdog: unlimited", ", watchdog: 1.5", ("fork", 1.5)),
    ],
)
def test_how_a_handler_is_started_and_watched(defaults: str, own: str, meant: tuple[str, float | None]) -> None:
    plan = make_plan(read(f"version: 1\ndefaults: {{{defaults}}}\nagents:\n  a: {{handler: app:A{own}}}\n"), None)
    assert (plan.replicas[0].start_method, plan.replicas[0].watchdog) == meant


def test_what_is_no_handler_of_this_run_is_started_and_watched_in_one_way() -> None:
    text = (
        "version: 1\ndefaults: {start_method: spawn, watchdog: unlimited}\nagents:\n"
        "  a: {command: [node]}\n  b: {external: true}\n  c: {external: true, handler: app:C}\n"
    )
    for replica in make_plan(read(text), None).replicas:
        assert (replica.start_method, replica.watchdog) == ("fork", 20.0)


def test_replicas_and_users_survive_the_way_to_another_process() -> None:
    plan = make_plan(read(f"{DESK}users: {{reader: {{asks: [lead]}}}}\n"), DESK_REPORTS)
    for replica in plan.replicas:
        assert msgspec.json.decode(msgspec.json.encode(replica), type=Replica) == replica
    for user in plan.users:
        assert msgspec.json.decode(msgspec.json.encode(user), type=UserPlan) == user


def test_a_token_says_what_was_planned() -> None:
    plan = make_plan(read(DESK), DESK_REPORTS)
    for replica in plan.replicas:
        _, claims = verify(mint(KEY, replica.claims(exp=1_000, instance="i1")), {KEY.id: KEY}, now=500)
        assert claims.sub == replica.peer_id
        assert claims.channels == replica.channels
        assert claims.permissions == replica.permissions
        assert claims.grants == replica.grants
        assert claims.peer_metadata == replica.peer_metadata
        assert (claims.instance, claims.rate) == ("i1", "unlimited")
    _, claims = verify(mint(KEY, plan.user("cli").claims("1", 1_000)), {KEY.id: KEY}, now=500)
    assert claims.sub == "cli/1"
    assert claims.peer_metadata == {"kind": "user", "user": "cli", "name": "1"}
    assert claims.metadata is not None
    assert claims.metadata["asks"]["checker"] == ["checker.1", "checker.2"]


@pytest.mark.parametrize("sub", ["", "a/b", "a\n", "é", "x" * 125])
def test_a_users_name_cannot_leave_its_place_in_the_peer_id(sub: str) -> None:
    with pytest.raises(ValueError, match="a user's name has 1 to 124 printable ASCII characters"):
        make_plan(read(SMALLEST), None).user("cli").claims(sub, 1_000)


def test_a_plan_without_a_name_is_named_after_its_file() -> None:
    assert make_plan(read(SMALLEST), None).name == "topology"


def test_more_than_a_token_holds_is_told_where_it_is_asked_for() -> None:
    workers = "".join(f"  w{number}: {{handler: a:W}}\n" for number in range(101))
    names = ", ".join(f"w{number}" for number in range(101))
    text = f"version: 1\ncoordinators:\n  boss: {{handler: a:B, workers: [{names}]}}\nworkers:\n{workers}"
    with pytest.raises(TopologyError) as caught:
        make_plan(read(text), None)
    assert str(caught.value) == (
        "topology.yaml:3:3: coordinators.boss: this asks for more than a token can say: "
        "it needs 101 patterns for 'observe', with each one left out that others cover exactly, and a token holds 100"
    )


def test_a_fault_is_told_at_each_handler_that_has_it() -> None:
    reports: dict[str, HandlerReport | HandlerFault] = dict(DESK_REPORTS)
    reports["agents.code_desk:Lead"] = HandlerFault("agents.code_desk:Lead", "it raised X: y", ("File a", "X: y"))
    with pytest.raises(TopologyError) as caught:
        make_plan(read(DESK), reports)
    assert str(caught.value) == ("topology.yaml:4:19: coordinators.lead.handler: it raised X: y\n    File a\n    X: y")
