"""What a new plan makes of a run: as little as it can, and all that it must."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.protocol.tokens import SecretKey
from orchestrator.topology.part import part_of
from orchestrator.topology.plan import Plan, make_plan
from orchestrator.topology.replica import LobbySeat, Pool, Replica, RestartPolicy, TeamSeat
from orchestrator.topology.revision import NeedsNewStart, Revision, revise, told_apart
from orchestrator.topology.scaling import scaled
from tests.topology.files import SMALLEST, read

PROGRAMS = """\
version: 1
store: sqlite:///s.db
coordinators:
  boss: {handler: app:Boss, workers: [ant, bee, cow]}
workers:
  ant: {handler: app:Ant, replicas: 2, tasks: {delivery: at-least-once}}
  bee: {command: [bee], handles: [Sting], replicas: 2}
  cow: {handler: app:Cow, replicas: 1}
agents:
  guest: {handler: app:Guest, replicas: 2}
  doorkeeper: {handler: app:Doorkeeper}
  scribe: {external: true, replicas: 1}
teams:
  farm: {members: [ant, cow, guest, scribe], claims: {consistency: best-effort}}
presence:
  hall: {members: [guest, ant], watchers: [doorkeeper]}
users:
  reader: {asks: [boss, ant]}
"""


def planned(text: str, *, scribe: int = 1, **counts: int) -> Plan:
    return make_plan(scaled(read(text.replace("true, replicas: 1", f"true, replicas: {scribe}")), counts), None)


def changed(text: str, old: str, new: str) -> Revision:
    assert old in text
    return revise(planned(text), planned(text.replace(old, new)))


def names(replicas: tuple[Replica, ...]) -> list[str]:
    return [replica.peer_id for replica in replicas]


class TestOneReplica:
    BOSS = Replica(
        agent="boss",
        replica=None,
        peer_id="boss",
        handler="app:Boss",
        role="coordinator",
        name="boss",
        concurrency=1,
        capabilities=(),
        peer_metadata={},
        environment={},
        inbox=None,
        pool=None,
        pools=(Pool("helper", "pools/helper", ("helper.1",), 1, (), ()),),
        teams=(TeamSeat("t", "teams/t/state", ("boss", "helper.1")),),
        lobbies=(LobbySeat("hall", "lobbies/hall", member=False, watcher=True, members=("helper",)),),
        subscribe=(),
        observe=(),
        channels=(),
        permissions=frozenset(),
        grants=planned(SMALLEST).replicas[0].grants,
    )
    SEATS = ("pools", "teams", "lobbies")
    SOFT: ClassVar = {"Pool": "peers", "TeamSeat": "members", "LobbySeat": "members"}

    def test_nothing_needs_nothing(self) -> None:
        assert told_apart(self.BOSS, replace(self.BOSS)) == "same"

    @pytest.mark.parametrize("name", [field.name for field in fields(Replica) if field.name != "restart"])
    def test_whatever_is_not_known_to_be_soft_needs_a_new_process(self, name: str) -> None:
        """`object()` is unlike anything, in fields that there will be as well."""
        other: Any = () if name in self.SEATS else object()
        assert told_apart(self.BOSS, replace(self.BOSS, **{name: other})) == "restarted"

    @pytest.mark.parametrize(
        ("seats", "name"),
        [
            (seats, field.name)
            for seats, kind in zip(SEATS, (Pool, TeamSeat, LobbySeat), strict=True)
            for field in fields(kind)
        ],
    )
    def test_of_pools_teams_and_lobbies_it_is_told_who_is_in_them_and_nothing_else(self, seats: str, name: str) -> None:
        (seat,) = getattr(self.BOSS, seats)
        other: Any = ("somebody",) if self.SOFT[type(seat).__name__] == name else object()
        expected = "told" if self.SOFT[type(seat).__name__] == name else "restarted"
        change: dict[str, Any] = {seats: (replace(seat, **{name: other}),)}
        assert told_apart(self.BOSS, replace(self.BOSS, **change)) == expected

    def test_another_restart_policy_concerns_its_parent_alone(self) -> None:
        assert told_apart(self.BOSS, replace(self.BOSS, restart=RestartPolicy("always"))) == "repolicied"

    def test_what_it_is_told_comes_before_the_policy(self) -> None:
        other = replace(self.BOSS, restart=RestartPolicy("always"), teams=(replace(self.BOSS.teams[0], members=()),))
        assert told_apart(self.BOSS, other) == "told"

    def test_the_way_to_another_process_and_back_changes_nothing(self) -> None:
        for replica in planned(PROGRAMS).replicas:
            there = msgspec.json.decode(msgspec.json.encode(replica), type=Replica)
            assert told_apart(replica, there) == "same"


class TestCounts:
    def test_a_pool_that_grows_restarts_nobody(self) -> None:
        revision = revise(planned(SMALLEST), planned(SMALLEST, helper=5))
        assert names(revision.added) == ["helper.4", "helper.5"]
        assert names(revision.told) == ["boss"]
        assert str(revision) == "adds helper.4, helper.5"
        assert revision.plan == planned(SMALLEST, helper=5)

    def test_a_pool_that_shrinks_restarts_nobody(self) -> None:
        revision = revise(planned(SMALLEST), planned(SMALLEST, helper=1))
        assert revision.removed == ("helper.2", "helper.3")
        assert str(revision) == "ends helper.2, helper.3"

    def test_nothing_that_changed_is_no_revision(self) -> None:
        revision = revise(planned(PROGRAMS), planned(PROGRAMS))
        assert not revision
        assert str(revision) == "nothing has changed"

    @given(
        before=st.fixed_dictionaries({name: st.integers(1, 4) for name in ("ant", "bee", "cow", "guest", "scribe")}),
        after=st.fixed_dictionaries({name: st.integers(1, 4) for name in ("ant", "bee", "cow", "guest", "scribe")}),
    )
    def test_no_count_restarts_anybody(self, before: dict[str, int], after: dict[str, int]) -> None:
        old, new = planned(PROGRAMS, **before), planned(PROGRAMS, **after)
        revision = revise(old, new)
        assert revision.restarted == revision.repolicied == ()
        left = {replica.peer_id for replica in old.here} - set(revision.removed)
        assert left | set(names(revision.added)) == {replica.peer_id for replica in new.here}
        assert bool(revision) == (before != after)

    def test_the_first_count_of_an_agent_makes_other_peers_of_it_and_restarts_who_may_publish_to_them(self) -> None:
        revision = changed(SMALLEST, ", replicas: 3", "")
        assert (names(revision.added), revision.removed) == (["helper"], ("helper.1", "helper.2", "helper.3"))
        assert names(revision.restarted) == ["boss"]


class TestChanges:
    @pytest.mark.parametrize(
        ("old", "new", "restarted"),
        [
            ("handler: app:Cow", "handler: app:Calf", ["cow.1"]),
            ("command: [bee]", "command: [bee, -v]", ["bee.1", "bee.2"]),
            ("handler: app:Guest,", "handler: app:Guest, watchdog: 5s,", ["guest.1", "guest.2"]),
            ("handler: app:Guest,", "handler: app:Guest, start_method: spawn,", ["guest.1", "guest.2"]),
            ("handler: app:Guest,", "handler: app:Guest, environment: {A: b},", ["guest.1", "guest.2"]),
            ("handler: app:Guest,", "handler: app:Guest, reconnect: {max_attempts: 3},", ["guest.1", "guest.2"]),
            ("handler: app:Guest,", "handler: app:Guest, scopes: {publish: [x]},", ["guest.1", "guest.2"]),
            ("handler: app:Cow,", "handler: app:Cow, concurrency: 3,", ["boss", "cow.1"]),
            ("delivery: at-least-once", "delivery: at-most-once", ["boss", "ant.1", "ant.2"]),
        ],
    )
    def test_what_a_process_cannot_take_up_restarts_those_whom_it_concerns(
        self, old: str, new: str, restarted: list[str]
    ) -> None:
        revision = changed(PROGRAMS, old, new)
        assert names(revision.restarted) == restarted
        assert str(revision) == f"restarts {', '.join(restarted)}"

    def test_another_restart_policy_touches_no_process(self) -> None:
        revision = changed(PROGRAMS, "handler: app:Guest,", "handler: app:Guest, restart: {condition: always},")
        assert names(revision.repolicied) == ["guest.1", "guest.2"]
        assert str(revision) == "changes the restart policy of guest.1, guest.2"

    def test_one_that_is_told_may_have_another_policy_too(self) -> None:
        other = read(PROGRAMS.replace("handler: app:Boss,", "handler: app:Boss, restart: {condition: always},"))
        revision = revise(planned(PROGRAMS), make_plan(scaled(other, {"bee": 3}), None))
        assert names(revision.told) == names(revision.repolicied) == ["boss"]

    def test_one_that_somebody_else_runs_from_now_on_is_ended_and_expected(self) -> None:
        revision = changed(PROGRAMS, "doorkeeper: {handler: app:Doorkeeper}", "doorkeeper: {external: true}")
        assert revision.removed == ("doorkeeper",)
        assert str(revision) == "ends doorkeeper; expects elsewhere doorkeeper"

    def test_more_of_those_that_somebody_else_runs_are_expected(self) -> None:
        more, fewer = planned(PROGRAMS, scribe=2), planned(PROGRAMS)
        assert revise(fewer, more).others == ("expects elsewhere scribe.2",)
        assert revise(more, fewer).others == ("expects no more scribe.2",)

    def test_another_life_of_tokens_is_for_the_next_ones(self) -> None:
        revision = revise(planned(SMALLEST), planned(SMALLEST + "hub: {token_ttl: 5m}\n"))
        assert revision
        assert str(revision) == "makes tokens of agents for 300 s from now on"

    def test_another_user_concerns_those_who_answer_it(self) -> None:
        assert names(changed(PROGRAMS, "asks: [boss, ant]", "asks: [boss]").restarted) == ["ant.1", "ant.2"]
        assert not changed(PROGRAMS, "asks: [boss, ant]", "asks: [boss, ant], token_ttl: 5m")

    def test_what_another_run_starts_is_no_matter_of_this_one(self) -> None:
        old, new = (part_of(planned(SMALLEST, helper=count), only=["boss"]) for count in (2, 3))
        revision = revise(old, new)
        assert (revision.added, names(revision.told)) == ((), ["boss"])
        assert revision.others == ("expects elsewhere helper.3",)

    def test_a_store_that_nobody_needs_any_more_stays(self) -> None:
        revision = changed(PROGRAMS, "delivery: at-least-once", "delivery: at-most-once")
        assert revision.plan.store == "sqlite:///s.db"
        again = revise(revision.plan, planned(PROGRAMS))
        assert names(again.restarted) == ["boss", "ant.1", "ant.2"]


KEY, OTHER = (SecretKey(f"sk_id_{name}", f"sk_secret_{name * 40}") for name in "ab")


class TestImpossible:
    @pytest.mark.parametrize(
        ("before", "after", "sentence"),
        [
            ({}, {"name": "other"}, "the topology was called"),
            ({}, {"app_dir": "x"}, "handlers are looked for in another directory now"),
            ({}, {"directory": "x"}, "the topology was"),
            ({}, {"withheld": frozenset({"KEY"})}, "may inherit ('KEY')"),
            ({}, {"url": "ws://h"}, "the hub was that of the run and is ws://h now"),
            ({"url": "ws://g"}, {"url": "ws://h"}, "the hub was ws://g and is ws://h now"),
            ({}, {"port": 7700}, "hub.listen was 127.0.0.1:0 and is 127.0.0.1:7700 now"),
            ({}, {"key": KEY}, "hub.key is another one now"),
            ({"key": KEY}, {"key": OTHER}, "hub.key is another one now"),
            ({"store": "memory:"}, {"store": "sqlite:///s.db"}, "the store is at another address now"),
            ({}, {"store": "memory:"}, "some agents need a store now"),
        ],
    )
    def test_it_is_told_what_wants_a_new_start(
        self, before: dict[str, Any], after: dict[str, Any], sentence: str
    ) -> None:
        with pytest.raises(NeedsNewStart) as caught:
            revise(self.plan(**before), self.plan(**after))
        assert sentence in str(caught.value)
        assert len(caught.value.sentences) == 1
        assert "sk_secret" not in str(caught.value)

    def test_all_of_it_is_told_at_once(self) -> None:
        with pytest.raises(NeedsNewStart) as caught:
            revise(self.plan(), self.plan(name="other", key=KEY, store="memory:"))
        assert len(caught.value.sentences) == 3

    def test_where_a_hub_of_ours_would_listen_does_not_matter_beside_another_one(self) -> None:
        assert not revise(self.plan(url="ws://h"), self.plan(url="ws://h", port=7700))

    @staticmethod
    def plan(**changes: Any) -> Plan:
        plan = planned(SMALLEST)
        of_hub = {key: changes.pop(key) for key in ("url", "port", "key") if key in changes}
        return replace(plan, hub=plan.hub._replace(**of_hub), **changes)
