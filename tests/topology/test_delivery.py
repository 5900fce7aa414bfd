"""Who needs the store, for what, and where it is; and what of the delivery only the code can tell."""

from __future__ import annotations

import msgspec
import pytest

from orchestrator.errors import TopologyError
from orchestrator.topology.handlers import HandledTask, HandlerReport
from orchestrator.topology.plan import DurableDelivery, Plan, make_plan
from orchestrator.topology.replica import Replica
from orchestrator.topology.store_access import Access
from tests.topology.files import complaints, read

FARM = """\
version: 1
%s
coordinators:
  boss: {handler: app:Boss, workers: [picker, packer, porter]}
workers:
  picker: {handler: app:Picker, replicas: 2, tasks: {delivery: at-least-once, max_attempts: 3, backoff: {delay: 2s}}}
  packer: {handler: app:Packer, tasks: {delivery: at-least-once}}
  porter: {handler: app:Porter}
"""

TEAMS = """\
version: 1
%s
agents:
  a: {handler: app:A}
  b: {handler: app:B}
  c: {command: [tail], handles: [Add]}
  d: {handler: app:D, external: true}
teams:
  strong: {members: [a, c]}
  weak: {members: [a, b, d], claims: {consistency: best-effort}}
"""


def plan(text: str) -> Plan:
    return make_plan(read(text), None)


def access(found: Plan) -> dict[str, Access | None]:
    return {replica.peer_id: replica.store for replica in found.replicas}


def test_a_coordinator_stores_tasks_for_those_who_take_them_from_the_store() -> None:
    assert access(plan(FARM % "")) == {
        "boss": Access("boss", queues=("picker", "packer")),
        "picker.1": Access("picker", claims=True),
        "picker.2": Access("picker", claims=True),
        "packer": Access("packer", claims=True),
        "porter": None,
    }


def test_coordinator_and_worker_know_how_often_a_task_is_tried() -> None:
    found = plan(FARM % "")
    few, default = DurableDelivery(3, delay=2.0, max_delay=60.0), DurableDelivery(5, delay=1.0, max_delay=60.0)
    assert [pool.delivery for pool in found.replicas[0].pools] == [few, default, None]
    assert [replica.delivery for replica in found.replicas] == [None, few, few, default, None]


def test_what_is_planned_of_the_store_survives_the_way_to_another_process() -> None:
    for replica in plan(FARM % "").replicas:
        assert msgspec.json.decode(msgspec.json.encode(replica), type=Replica) == replica


@pytest.mark.parametrize("address", ["memory:", "sqlite:///farm.db", "nats://127.0.0.1:4222"])
def test_the_store_is_the_one_that_is_declared(address: str) -> None:
    assert plan(FARM % f"store: '{address}'").store == address


def test_without_one_it_is_a_file_that_is_named_like_the_plan() -> None:
    assert plan(FARM % "").store == "sqlite:///.orchestrator/topology.db"
    assert plan(FARM % "name: farm").store == "sqlite:///.orchestrator/farm.db"


def test_a_member_of_a_team_whose_claims_are_strong_holds_its_leases() -> None:
    found = plan(TEAMS % "store: memory")
    assert found.store == "memory:"
    assert access(found) == {"a": Access("a", teams=("strong",)), "b": None, "c": None, "d": None}


def test_a_store_that_nobody_needs_is_not_planned() -> None:
    assert plan(TEAMS % "").store is None
    assert plan("version: 1\nstore: memory\nagents:\n  a: {handler: app:A}\n").store is None


def test_a_store_elsewhere_is_reached_from_elsewhere() -> None:
    text = FARM.replace("app:Boss", "app:Boss, external: true").replace("app:Packer", "app:Packer, external: true")
    assert complaints(text % "store: redis://10.0.0.1") == []
    assert len(complaints(text % "store: sqlite:///farm.db")) == 3


PICK, PACK = HandledTask("Pick", "task", "pick", "str"), HandledTask("Pack", "task", "pack", "str")


def misfits(**tasks: HandledTask) -> list[str]:
    """Return what is said of the farm when each handler takes one type of task."""
    reports = {f"app:{name}": HandlerReport(f"app:{name}", tasks=(task,)) for name, task in tasks.items()}
    reports["app:Boss"] = HandlerReport("app:Boss", tasks=(PICK,))
    try:
        make_plan(read(FARM % ""), reports)
    except TopologyError as error:
        return [str(problem).removeprefix("topology.yaml:") for problem in error.problems]
    return []


def test_a_type_of_task_is_kept_by_all_who_take_it_or_by_none() -> None:
    assert misfits(Picker=PICK, Packer=PACK, Porter=PICK) == [
        (
            "6:64: workers.picker.tasks.delivery: 'boss' hands Pick to 'picker' and to 'porter', which is at-most-once; "
            "either both are at-least-once or neither is"
        )
    ]


def test_two_workers_may_keep_the_same_type_of_task() -> None:
    assert misfits(Picker=PICK, Packer=PICK, Porter=PACK) == []
