from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runtime.start_order import StartOrder, needs_of, stop_ranks
from tests.runtime.plans import planned

CHAIN: dict[str, tuple[str, ...]] = {
    "boss": ("lead",),
    "lead": ("helper.1", "helper.2"),
    "helper.1": (),
    "helper.2": (),
}


def test_whoever_needs_nobody_begins_at_once() -> None:
    order = StartOrder(CHAIN)
    assert order.asked("helper.1") == ("helper.1",)
    assert order.asked("somebody else") == ("somebody else",)


def test_a_coordinator_begins_when_the_last_of_its_workers_has_settled() -> None:
    order = StartOrder(CHAIN)
    assert order.asked("boss") == ()
    assert order.asked("lead") == ()
    assert order.settled("helper.1") == ()
    assert order.settled("helper.2") == ("lead",)
    assert order.settled("lead") == ("boss",)


def test_what_has_settled_before_is_not_waited_for() -> None:
    order = StartOrder(CHAIN)
    for name in ("helper.1", "helper.2"):
        order.settled(name)
    assert order.asked("lead") == ("lead",)


def test_each_asking_is_answered_once() -> None:
    order = StartOrder(CHAIN)
    order.asked("lead")
    order.asked("lead")
    order.settled("helper.1")
    assert order.settled("helper.2") == ("lead",)
    assert order.settled("helper.2") == ()
    assert order.asked("lead") == ("lead",)


def test_one_that_fell_while_it_waited_is_not_told_until_it_asks_again() -> None:
    order = StartOrder(CHAIN)
    order.asked("lead")
    order.settled("lead")
    order.settled("helper.1")
    assert order.settled("helper.2") == ()
    assert order.asked("lead") == ("lead",)


def test_several_begin_in_the_order_in_which_they_asked() -> None:
    order = StartOrder({"a": ("w",), "b": ("w",), "w": ()})
    order.asked("b")
    order.asked("a")
    assert order.settled("w") == ("b", "a")


def test_those_who_need_each_other_do_not_wait_for_each_other() -> None:
    order = StartOrder({"a": ("b", "w"), "b": ("c",), "c": ("a",), "w": (), "self": ("self",)})
    assert order.asked("self") == ("self",)
    assert order.asked("b") == ("b",)
    assert order.asked("a") == ()
    assert order.settled("w") == ("a",)


def test_nobody_waits_for_whom_the_run_does_not_start() -> None:
    assert StartOrder({"a": ("elsewhere",)}).asked("a") == ("a",)


def test_nobody_waits_for_those_that_leave() -> None:
    order = StartOrder(CHAIN)
    order.asked("boss")
    order.asked("lead")
    order.settled("helper.1")
    assert order.left(["helper.2"]) == ("lead",)
    assert order.left(["lead", "nobody"]) == ("boss",)


def test_one_that_leaves_while_it_waits_is_told_nothing() -> None:
    order = StartOrder({"a": ("w",), "w": ()})
    order.asked("a")
    order.left(["a"])
    assert order.settled("w") == ()


def test_those_that_come_are_waited_for_and_those_that_stay_have_settled() -> None:
    order = StartOrder(CHAIN)
    for name in ("helper.1", "helper.2", "lead"):
        order.settled(name)
    more = {**CHAIN, "lead": ("helper.1", "helper.2", "helper.3"), "helper.3": ()}
    assert order.revised(more) == ()
    assert order.asked("boss") == ("boss",)
    assert order.asked("lead") == ()
    assert order.settled("helper.3") == ("lead",)


def test_one_that_left_and_came_back_is_waited_for_again() -> None:
    order = StartOrder({"a": ("w",), "w": ()})
    order.settled("w")
    order.left(["w"])
    order.revised({"a": ("w",), "w": ()})
    assert order.asked("a") == ()


def test_a_chain_may_be_longer_than_a_stack() -> None:
    length = 5000
    order = StartOrder({str(number): (str(number + 1),) for number in range(length)} | {str(length): ()})
    for number in range(length):
        assert order.asked(str(number)) == ()
    assert order.settled(str(length)) == (str(length - 1),)


TEAM = """
version: 1
coordinators:
  boss: {handler: "app:Boss", workers: [lead, far]}
  lead: {handler: "app:Lead", workers: [helper]}
workers:
  helper: {handler: "app:Helper", replicas: 2}
  far: {external: true, handles: [Job]}

"""


def test_needs_are_the_workers_that_are_started_here() -> None:
    assert needs_of(planned(TEAM).replicas) == {
        "boss": {"lead"},
        "lead": {"helper.1", "helper.2"},
        "helper.1": frozenset(),
        "helper.2": frozenset(),
    }


def test_needs_leave_out_what_is_run_elsewhere() -> None:
    here = [replica for replica in planned(TEAM).replicas if replica.agent != "helper"]
    assert needs_of(here) == {"boss": {"lead"}, "lead": frozenset()}


def test_agents_end_in_the_opposite_order() -> None:
    ranks = stop_ranks(planned(TEAM))
    assert ranks["boss"] < ranks["lead"] < ranks["helper"] == ranks["far"]


NAMES = "abcdefg"
GRAPHS = st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from(NAMES + "z")), max_size=7)


def reachable(needs: dict[str, set[str]], name: str) -> set[str]:
    found: set[str] = set()
    open_ends = [name]
    while open_ends:
        for other in needs.get(open_ends.pop(), set()) - found:
            found.add(other)
            open_ends.append(other)
    return found


@given(needs=GRAPHS, data=st.data())
def test_all_begin_in_the_end_and_nobody_before_those_it_needs(needs: dict[str, set[str]], data: st.DataObject) -> None:
    order = StartOrder(needs)
    to_ask = data.draw(st.permutations(sorted(needs)))
    begun: list[str] = []
    settled: set[str] = set()
    while to_ask or len(settled) < len(begun):
        under_way = sorted({*begun} - settled)
        if under_way and (not to_ask or data.draw(st.booleans())):
            name = data.draw(st.sampled_from(under_way))
            settled.add(name)
            told = order.settled(name)
        else:
            told = order.asked(to_ask.pop())
        for name in told:
            assert name not in begun
            acyclic = {other for other in needs[name] & needs.keys() if name not in reachable(needs, other)}
            assert acyclic <= settled
            begun.append(name)
    assert sorted(begun) == sorted(needs)


@given(before=GRAPHS, after=GRAPHS, data=st.data())
def test_whatever_changes_those_that_wait_begin_as_soon_as_nobody_is_missing(
    before: dict[str, set[str]], after: dict[str, set[str]], data: st.DataObject
) -> None:
    order = StartOrder(before)
    settled = {*data.draw(st.lists(st.sampled_from(sorted(before)), unique=True))} if before else set()
    for name in settled:
        order.settled(name)
    waiting = {name for name in sorted({*before} - settled) if not order.asked(name)}
    told = order.revised(after)
    remaining = settled & after.keys()
    free = {
        name
        for name in waiting & after.keys()
        if {other for other in after[name] & after.keys() if name not in reachable(after, other)} <= remaining
    }
    assert {*told} == free
