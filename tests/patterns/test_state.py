"""What one member writes, all members come to have: whatever is lost, and for however long."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from orchestrator.errors import PayloadTooLarge, StateFull
from orchestrator.patterns import state
from orchestrator.patterns.effects import Note, Publish, Refused, Send
from orchestrator.patterns.reconcile import MAX_VALUE, VALUE_DEPTH
from orchestrator.patterns.state import Changed, SharedState
from orchestrator.protocol.payloads import StateDigest, StateMany, StateNotice, StatePage, StateSync, StateVersions
from tests.patterns.state_members import CHANNEL, Team

PEERS = ["m.1", "m.2", "m.3"]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("write"), st.sampled_from(PEERS), st.sampled_from("abc"), st.sampled_from([b"1", b"2", None])
        ),
        st.tuples(st.just("pass"), st.floats(0.0, 2.0)),
        st.tuples(st.just("lose"), st.floats(0.0, 1.0)),
        st.tuples(st.just("part"), st.sampled_from(PEERS)),
        st.tuples(st.just("reconnect"), st.sampled_from(PEERS)),
        st.tuples(st.just("restart"), st.sampled_from(PEERS)),
    ),
    max_size=25,
)


def settled(count: int, seed: int = 0) -> Team:
    team = Team(count, seed)
    team.run(5.0)
    team.said.clear()
    return team


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(0, 1_000))
@example([("write", "m.1", "a", b"1"), ("part", "m.1"), ("pass", 1.0)], 0)
@example(
    [
        ("lose", 0.765625),
        ("reconnect", "m.1"),
        ("write", "m.1", "c", b"1"),
        ("write", "m.1", "a", b"1"),
        ("write", "m.2", "c", b"2"),
        ("pass", 25.0),
    ],
    1,
)
@example(
    [
        ("pass", 0.25),
        ("write", "m.3", "c", b"1"),
        ("lose", 1.0),
        ("reconnect", "m.3"),
        ("pass", 0.625),
        ("write", "m.1", "c", b"2"),
    ],
    228,
)
def test_after_any_bad_days_all_members_agree_within_two_seconds(steps: list[tuple[object, ...]], seed: int) -> None:
    team = Team(3, seed)
    team.doubled = 0.2
    team.delay = lambda: team.rng.uniform(0.0, 0.05)  # without order, even between two of them
    for step in steps:
        match step:
            case ("write", str(peer), str(key), value):
                if value is not None or key in team.content(peer):
                    team.write(peer, key, value)  # type: ignore[arg-type]
            case ("pass", float(seconds)):
                team.run(seconds)
            case ("lose", float(share)):
                team.lost = lambda _a, _b, share=share: team.rng.random() < share  # type: ignore[misc]
            case ("part", str(peer)):
                team.lost = lambda a, b, peer=peer: peer in (a, b)  # type: ignore[misc]
            case ("reconnect", str(peer)):
                team.reconnect(peer)
            case ("restart", str(peer)):
                team.kill(peer)
                team.start(peer)
    team.lost = lambda _a, _b: False
    team.run(2.0)
    assert team.agree(), {peer: team.content(peer) for peer in PEERS}
    team.run(10.0)
    assert team.agree()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_is_left_is_the_latest_write_that_was_made(data: st.DataObject) -> None:
    """Of writes that follow each other, as all have heard of the one before."""
    team = settled(3)
    last: dict[str, bytes] = {}
    for number in range(data.draw(st.integers(1, 8))):
        peer, key = data.draw(st.sampled_from(PEERS)), data.draw(st.sampled_from("ab"))
        if key in last and data.draw(st.booleans()):
            team.write(peer, key, None)
            del last[key]
        else:
            last[key] = b"%d" % number
            team.write(peer, key, last[key])
        team.run(0.1)
    assert [team.content(peer) for peer in PEERS] == [dict(sorted(last.items()))] * 3


class TestHealing:
    def test_a_lost_message_is_made_good(self) -> None:
        team = settled(5)
        team.lost = lambda sender, receiver: (sender, receiver) == ("m.1", "m.4")
        team.write("m.1", "k", b"1")
        team.run(0.05)
        team.lost = lambda _a, _b: False
        assert not team.agree()
        assert team.run(2.0, team.agree) < 0.6

    def test_a_deletion_that_was_lost_is_made_good_even_if_nothing_is_left(self) -> None:
        team = settled(2)
        team.write("m.1", "k", b"1")
        team.run(5.0)
        team.lost = lambda _a, _b: True
        team.write("m.1", "k", None)
        team.run(60.0)
        team.lost = lambda _a, _b: False
        assert team.run(2.0, team.agree) < 1.5
        assert team.content("m.2") == {}

    @pytest.mark.parametrize("seconds", [0.1, 1.0, 10.0, 300.0])
    def test_those_who_were_never_heard_are_told_when_they_can_be(self, seconds: float) -> None:
        for seed in range(20):
            team = Team(3, seed)
            team.write("m.1", "k", b"1")
            team.lost = lambda a, b: "m.1" in (a, b)
            team.run(seconds)
            team.lost = lambda _a, _b: False
            assert not team.agree()
            assert team.run(2.5, team.agree) < 2.0

    def test_one_who_began_anew_while_another_was_away_is_told_what_it_had(self) -> None:
        """The one that was away is the one to tell it, and last heard that it has the same."""
        for seed in range(20):
            team = settled(3, seed)
            team.write("m.1", "k", b"1")
            team.run(5.0)
            away = team.members.pop("m.1")
            away.disconnected()
            team.kill("m.2")
            team.lost = lambda a, b: "m.2" in (a, b)
            team.start("m.2")
            team.members["m.1"] = away
            away.connected()
            team.tell_members()
            team.run(300.0 + seed)
            team.lost = lambda _a, _b: False
            assert team.content("m.2") == {}
            assert team.run(2.5, team.agree) < 2.0
            assert team.content("m.2") == {"k": b"1"}

    def test_a_newcomer_has_what_was_written_before_it_came(self) -> None:
        team = settled(3)
        team.kill("m.3")
        for number in range(3_000):
            team.write("m.1", f"k{number}", b'"%d"' % number)
        team.run(5.0)
        newcomer = team.start("m.3")
        assert team.run(2.0, lambda: newcomer.synced) < 0.1
        assert team.content("m.3") == team.content("m.1")
        assert len(newcomer.map) == 3_000

    def test_values_that_fill_many_pages_arrive_too(self) -> None:
        team = settled(2)
        team.kill("m.2")
        for number in range(60):
            team.write("m.1", f"k{number}", b'"%s"' % (b"x" * (MAX_VALUE - 2)))
        team.run(5.0)
        newcomer = team.start("m.2")
        team.run(2.0, lambda: newcomer.synced)
        assert team.agree()

    def test_a_bucket_that_is_too_large_for_one_answer_arrives_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("orchestrator.patterns.versioned.BUCKETS", 1)
        monkeypatch.setattr("orchestrator.patterns.reconcile.BUCKETS", 1)
        team = settled(2)
        team.lost = lambda _a, _b: True
        for number in range(60):
            team.write("m.1", f"a{number}", b'"%s"' % (b"x" * 50_000))
            team.write("m.2", f"b{number}", b'"%s"' % (b"y" * 50_000))
        team.run(5.0)
        team.lost = lambda _a, _b: False
        assert team.run(5.0, team.agree) < 3.0

    def test_versions_that_come_after_the_end_of_their_answer_are_asked_for(self) -> None:
        team = settled(2)
        asker, other = team.members["m.2"], team.members["m.1"]
        asker.write("k", b"1", team.now)
        other.write("k", b"1", team.now)
        other.write("k", b"2", team.now)
        question = StateSync(CHANNEL, asker.map.root, asker.map.clock, asker.map.hashes)
        versions, _ = (told.payload for told in other.receive("m.2", question, team.now) if isinstance(told, Send))
        assert isinstance(versions, StateVersions)
        asker.receive("m.1", versions, team.now)
        asked = [told for told in asker.tick(team.now) if isinstance(told, Send)]
        assert [(told.to, type(told.payload)) for told in asked] == [("m.1", StateSync)]

    def test_one_of_whose_answers_the_versions_are_lost_is_asked_again_soon(self) -> None:
        team = settled(2)
        asker, other, now = team.members["m.2"], team.members["m.1"], team.now
        asker.write("k", b"1", now)
        other.write("k", b"1", now)
        other.write("k", b"2", now)
        for _ in range(5):
            asker.receive("m.1", StateDigest(other.map.root, other.map.clock), now)
            now += 0.15
            [question] = [told.payload for told in asker.tick(now) if isinstance(told, Send)]
            assert isinstance(question, StateSync)
            _, page = (told.payload for told in other.receive("m.2", question, now) if isinstance(told, Send))
            assert isinstance(page, StatePage)
            asker.receive("m.1", page, now)

    def test_one_who_never_answers_is_passed_over(self) -> None:
        """A program that knows of no state, say."""
        engine = SharedState("m.1", CHANNEL, Random(0))
        engine.connected()
        engine.members({"program"}, 0.0)
        at, now, asked = 0.0, 0.0, 0
        while not engine.synced:
            at = now
            asked += sum(isinstance(effect, Send) for effect in engine.tick(at))
            now = engine.next_tick() or at
        assert at == state.ALONE_SECONDS
        assert asked in (2, 3)


class TestQuiet:
    def test_a_team_that_writes_nothing_says_nothing(self) -> None:
        team = settled(5)
        team.run(3_600.0)
        assert team.said == []

    def test_a_team_that_agrees_says_a_digest_a_minute(self) -> None:
        team = settled(5)
        team.write("m.1", "k", b"1")
        team.run(5.0)
        assert sum(kind == "state" for _, kind in team.said) == 1
        assert len(team.said) < 30  # each says its digest once or twice, and those who were missed in it answer
        team.said.clear()
        team.run(3_600.0)
        assert {kind for _, kind in team.said} == {"state-digest"}
        assert len(team.said) < 5 * 60 * 1.25

    def test_one_who_is_cut_off_costs_two_digests_a_second_of_each(self) -> None:
        team = settled(5)
        team.write("m.1", "k", b"1")
        team.run(5.0)
        team.lost = lambda a, b: "m.5" in (a, b)
        team.write("m.1", "k", b"2")
        team.run(10.0)
        team.said.clear()
        team.run(100.0)
        assert {kind for _, kind in team.said} == {"state-digest"}
        assert len(team.said) < 5 * 100 * 2

    def test_one_who_never_says_anything_costs_a_digest_a_second_of_one(self) -> None:
        """A program that knows of no state, say; it is never heard by anybody."""
        team = Team(5)
        team.lost = lambda a, b: "m.5" in (a, b)
        team.run(5.0)
        team.write("m.2", "k", b"1")
        team.run(10.0)
        team.said.clear()
        team.run(100.0)
        assert {kind for peer, kind in team.said if peer != "m.5"} == {"state-digest"}
        said = Counter(peer for peer, _ in team.said)
        assert said["m.1"] < 100 * 1.25
        assert max(said["m.2"], said["m.3"], said["m.4"]) < 100 / state.IDLE_SECONDS * 1.5


class TestWriting:
    def test_a_few_writes_go_out_one_by_one_and_many_together(self) -> None:
        team = settled(2)
        for number in range(state.SINGLE_WRITES):
            team.write("m.1", f"k{number}", b"1")
        team.run(0.01)
        assert [kind for _, kind in team.said] == ["state"] * state.SINGLE_WRITES
        team.said.clear()
        for number in range(1_000):
            team.write("m.1", f"k{number}", b"2")
        team.run(0.1)
        assert [kind for _, kind in team.said] == ["state-many"]
        assert team.agree()

    def test_one_key_that_is_written_often_goes_out_once(self) -> None:
        team = settled(2)
        for number in range(100):
            team.write("m.1", "k", b"%d" % number)
        team.run(0.01)
        assert [kind for _, kind in team.said] == ["state"]
        assert team.content("m.2") == {"k": b"99"}

    def test_what_is_written_before_a_member_has_caught_up_counts_as_written_then(self) -> None:
        team = settled(2)
        for number in range(9):
            team.write("m.1", "k", b"%d" % number)
        team.write("m.1", "gone", b"0")
        team.run(5.0)
        team.kill("m.2")
        newcomer = SharedState("m.2", CHANNEL, Random(0))
        team.members["m.2"] = newcomer
        team.write("m.2", "k", b'"mine"')
        team.changes["m.2"].clear()
        newcomer.connected()
        team.tell_members()
        team.run(5.0)
        assert team.content("m.1") == team.content("m.2") == {"gone": b"0", "k": b'"mine"'}
        assert [change.key for change in team.changes["m.2"]] == ["gone"]

    def test_values_that_are_too_large_or_too_deep_are_refused(self) -> None:
        engine = SharedState("m.1", CHANNEL, Random(0))
        with pytest.raises(PayloadTooLarge):
            engine.write("k", b'"%s"' % (b"x" * MAX_VALUE), 0.0)
        with pytest.raises(ValueError, match="nested too deeply"):
            engine.write("k", b"[" * (VALUE_DEPTH + 1) + b"]" * (VALUE_DEPTH + 1), 0.0)
        engine.write("k", b"[" * VALUE_DEPTH + b"]" * VALUE_DEPTH, 0.0)
        engine.write("flat", json.dumps([[]] * 1_000).encode(), 0.0)
        assert sorted(engine.map.keys()) == ["flat", "k"]

    def test_a_full_state_refuses_new_keys_and_takes_deletions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(state, "MAX_KEYS", 3)
        monkeypatch.setattr(state, "MAX_BYTES", 100)
        engine = SharedState("m.1", CHANNEL, Random(0))
        for key in "abc":
            engine.write(key, b"1", 0.0)
        with pytest.raises(StateFull, match="no room for 'd'"):
            engine.write("d", b"1", 0.0)
        with pytest.raises(StateFull):
            engine.write("a", b'"%s"' % (b"x" * 100), 0.0)
        engine.write("a", None, 0.0)
        engine.write("d", b"1", 0.0)
        assert engine.map.keys() == ["b", "c", "d"]

    def test_what_others_write_is_taken_up_to_twice_of_that(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(state, "MAX_KEYS", 3)
        engine = SharedState("m.1", CHANNEL, Random(0))
        told = [engine.receive("m.2", StateNotice(key, (1, "m.2"), Raw(b"1")), 0.0) for key in "abcdefgh"]
        assert len(engine.map) == 6
        assert [isinstance(effect, Note) for effects in told[6:] for effect in effects] == [True]

    def test_a_refusal_of_the_hub_is_logged_once(self) -> None:
        engine = SharedState("m.1", CHANNEL, Random(0))
        told = [engine.answered("", Refused(PermissionError("no")), 0.0) for _ in range(3)]
        assert [len(effects) for effects in told] == [1, 0, 0]


class TestHostileMembers:
    def test_a_huge_lamport_time_is_nobodys(self) -> None:
        team = settled(3)
        for number, lamport in enumerate((2**53, 2**62, 2**64 - 1)):
            forged = StateNotice("k", (lamport, "m.3"), Raw(b'"%d"' % number))
            assert team.members["m.1"].receive("m.3", forged, team.now) == []
        team.members["m.1"].receive("m.3", StateDigest("0" * 16, 2**64 - 1), team.now)
        assert team.members["m.1"].map.clock == 0

    def test_the_greatest_that_is_taken_leaves_room_above_it(self) -> None:
        team = settled(3)
        greatest = int((team.now + state.SKEW_SECONDS) * state.LAMPORT_PER_SECOND)
        for peer in ("m.1", "m.2"):
            team.members[peer].receive("m.3", StateNotice("k", (greatest, "m.3"), Raw(b'"evil"')), team.now)
            assert team.content(peer) == {"k": b'"evil"'}
        for number in range(100):
            team.write("m.1", "k", b"%d" % number)
            team.run(0.01)
        team.run(2.0)
        assert team.content("m.2") == team.content("m.3") == {"k": b"99"}

    def test_nobody_writes_in_the_name_of_another(self) -> None:
        engine = SharedState("m.1", CHANNEL, Random(0))
        engine.receive("m.2", StateNotice("k", (1, "m.3"), Raw(b"1")), 0.0)
        engine.receive("m.2", StateMany((Raw(b'["k",1,"m.3",1]'),)), 0.0)
        assert len(engine.map) == 0
        engine.receive("m.2", StateMany((Raw(b'["k",1,"m.2",1]'),)), 0.0)
        assert engine.map.keys() == ["k"]

    @pytest.mark.parametrize(
        "item",
        [
            b"1",
            b"[]",
            b'["",1,"m.2",1]',
            b'["%s",1,"m.2",1]' % (b"k" * 257),
            b'["k",0,"m.2",1]',
            b'["k",-1,"m.2",1]',
            b'["k",1.5,"m.2",1]',
            b'["k",1,"",1]',
            b'["k",1,"m.2",1e999]',
            b'["k",1,"m.2","\\ud800"]',
            b'["k",1,"m.2",%s%s]' % (b"[" * 60, b"]" * 60),
            b'["k",1,"m.2","%s"]' % (b"x" * MAX_VALUE),
        ],
    )
    def test_what_cannot_be_passed_on_is_passed_over(self, item: bytes) -> None:
        engine = SharedState("m.1", CHANNEL, Random(0))
        engine.receive("m.2", StateMany((Raw(item), Raw(b'["ok",1,"m.2",1]'))), 0.0)
        assert engine.map.keys() == ["ok"]

    @given(st.text("0123456789abcdefgé", max_size=80), st.integers(-5, 300), st.lists(st.text(), max_size=3))
    def test_whatever_is_asked_is_answered_in_messages_that_fit(
        self, hashes: str, start: int, wants: list[str]
    ) -> None:
        engine = SharedState("m.1", CHANNEL, Random(0))
        engine.receive("m.2", StateMany(tuple(Raw(b'["k%d",1,"m.2",1]' % number) for number in range(50))), 0.0)
        told = engine.receive("m.2", StateSync(CHANNEL, "x", 0, hashes, start, tuple(wants)), 0.0)
        assert [effect.payload.last for effect in told if hasattr(effect.payload, "last")][-1:] == [True]  # type: ignore[union-attr]


def test_changes_are_told_once_and_in_full() -> None:
    team = settled(2)
    team.write("m.1", "k", b'{"a":1}')
    team.run(1.0)
    team.write("m.2", "k", None)
    team.run(1.0)
    for peer in ("m.1", "m.2"):
        first, second = team.changes[peer]
        assert (first.key, first.value, first.by, first.deleted) == ("k", {"a": 1}, "m.1", False)
        assert (second.key, second.value, second.by, second.deleted) == ("k", None, "m.2", True)


def test_nothing_is_said_without_a_connection() -> None:
    engine = SharedState("m.1", CHANNEL, Random(0))
    told = engine.write("k", b"1", 0.0)
    assert not [effect for effect in told if not isinstance(effect, Changed)]
    assert engine.next_tick() is None
    engine.connected()
    engine.members({"m.2"}, 1.0)
    engine.disconnected()
    assert engine.tick(100.0) == []
    engine.connected()
    engine.members((), 100.0)
    assert [type(effect) for effect in engine.tick(100.0)] == [Publish]
