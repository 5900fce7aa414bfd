"""Payloads above the hub's limit: what is cut arrives byte by byte, or is said to be given up."""

from __future__ import annotations

import json
import random
import re
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from orchestrator.errors import PayloadTooLarge
from orchestrator.patterns.parts import (
    ENDED_KNOWN,
    PATIENCE_SECONDS,
    UNFINISHED_COST,
    UNFINISHED_PER_SENDER,
    Assembly,
    Dropped,
    Joined,
    Outcome,
    cut,
    is_part,
)
from orchestrator.protocol.frames import Direct, decode_hub_frame, encode_json
from orchestrator.protocol.limits import MAX_JOINED_SIZE, MAX_MESSAGE_ID, MAX_MESSAGE_SIZE
from orchestrator.protocol.payloads import Part, decode_payload

LEAST_LIMIT = 100
"""Room for the fields of a part with a short id, and for a few characters of its text."""
AWKWARD = ('"', "\\", "\\u0001", "\x1f", "\n", "\x7f", "é", "日", "😀", "\u2028", "a")

texts = st.lists(st.sampled_from(AWKWARD) | st.text(max_size=8), max_size=60).map("".join)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=10)
"""Any JSON value, with texts that take more room in a part than alone."""


def part(seq: int, of: int, text: str = "1", name: str = "p") -> Raw:
    return Raw(encode_json(Part(name, seq, of, text)))


def received(assembly: Assembly, *said: Raw, sender: str = "a", channel: str | None = None) -> list[Outcome]:
    return [outcome for one in said for outcome in assembly.receive(sender, channel, one, 0.0)]


def whole(outcomes: list[Outcome]) -> list[bytes]:
    return [bytes(outcome.data) for outcome in outcomes if isinstance(outcome, Joined)]


def given_up(outcomes: list[Outcome]) -> Dropped:
    [dropped] = outcomes
    assert isinstance(dropped, Dropped)
    return dropped


class TestCut:
    @given(values, st.integers(LEAST_LIMIT, 400), st.sampled_from([None, 1]), st.booleans())
    def test_any_json_fits_the_limit_and_arrives_byte_by_byte(
        self, value: Any, limit: int, indent: int | None, ascii_only: bool
    ) -> None:
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
        pieces = cut(text, limit, "p")
        assert all(len(bytes(piece)) <= limit and is_part(piece) for piece in pieces)
        assert whole(received(Assembly(), *pieces)) == [text]

    @pytest.mark.parametrize("character", AWKWARD)
    @pytest.mark.parametrize("shift", range(7))
    def test_no_character_and_no_escape_is_divided(self, character: str, shift: int) -> None:
        text = encode_json("x" * shift + character * 300)
        assert whole(received(Assembly(), *cut(text, LEAST_LIMIT, "p"))) == [text]

    def test_parts_are_nearly_full(self) -> None:
        pieces = cut(encode_json('"' * 400_000), MAX_MESSAGE_SIZE, "p")
        sizes = [len(bytes(piece)) for piece in pieces]
        assert min(sizes[:-1]) > MAX_MESSAGE_SIZE - 32

    def test_a_part_is_a_payload_with_its_text_at_the_end(self) -> None:
        assert bytes(cut(b'{"a":"\xc3\xa9"}', LEAST_LIMIT, "p")[0]) == (
            b'{"type":"part","id":"p","seq":0,"of":1,"text":"{\\"a\\":\\"\xc3\xa9\\"}"}'
        )

    def test_the_largest_payload_can_be_cut_and_joined(self) -> None:
        text = b'"' + b"x" * (MAX_JOINED_SIZE - 2) + b'"'
        assert whole(received(Assembly(), *cut(text, MAX_MESSAGE_SIZE, "p"))) == [text]

    def test_a_larger_one_is_refused(self) -> None:
        with pytest.raises(PayloadTooLarge) as caught:
            cut(b'"' + b"x" * (MAX_JOINED_SIZE - 1) + b'"', MAX_MESSAGE_SIZE, "p")
        assert (caught.value.size, caught.value.limit) == (MAX_JOINED_SIZE + 1, MAX_JOINED_SIZE)

    def test_a_limit_without_room_for_any_text_is_refused(self) -> None:
        with pytest.raises(PayloadTooLarge) as caught:
            cut(b'"' + b"x" * 100 + b'"', 40, "p")
        assert (caught.value.size, caught.value.limit) == (102, 40)

    @pytest.mark.parametrize("data", [b"", b'{"a":', b'"\xff"', b"NaN", b"[" * 100_000 + b"]" * 100_000])
    def test_what_is_no_json_is_refused(self, data: bytes) -> None:
        with pytest.raises(ValueError, match=r"."):
            cut(data, MAX_MESSAGE_SIZE, "p")


class TestIsPart:
    @pytest.mark.parametrize("size", [1, 100_000])
    @pytest.mark.parametrize("order", [("type", "id", "seq", "of", "text"), ("id", "of", "seq", "text", "type")])
    @pytest.mark.parametrize("indent", [None, 2])
    def test_a_part_that_a_service_wrote_anew_is_one(
        self, size: int, order: tuple[str, ...], indent: int | None
    ) -> None:
        fields = {"type": "part", "id": "p" * MAX_MESSAGE_ID, "seq": 0, "of": 2, "text": "x" * size}
        written = json.dumps({name: fields[name] for name in order}, indent=indent)
        frame = decode_hub_frame('{"type":"direct","from":"a","data":' + written + "}")
        assert isinstance(frame, Direct)
        assert is_part(frame.data)

    @pytest.mark.parametrize(
        "data",
        [
            b'{"type":"task","taskId":"part","prompt":"\\"part\\""}',
            b'{"taskId":"part","type":"task"}',
            b'{"type":"part"}',
            b'{"type":"part","user":"bob","text":"see you"}',
            b'{"type":"part","id":"p","seq":0,"text":""}',
            b'{"type":["part"],"id":"p","seq":0,"of":1,"text":""}',
            b'{"a":{"type":"part","id":"p","seq":0,"of":1,"text":""}}',
            b'[{"type":"part","id":"p","seq":0,"of":1,"text":""}]',
            b'["type","part","id","seq","of","text"]',
            b'"part"',
            b'{"type":"partial","id":"p","seq":0,"of":1,"text":""}',
            b'{"x":"part","y":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
            b'{"type":"part"',
            b"",
        ],
    )
    def test_whatever_else_has_that_word_in_it_is_none(self, data: bytes) -> None:
        assert not is_part(Raw(data))

    @given(values)
    def test_no_ordinary_payload_is_one(self, value: Any) -> None:
        assert not is_part(Raw(encode_json({"type": "event", "event": "part", "payload": value})))

    def test_the_payloads_of_our_agents_never_are_parts(self) -> None:
        assert decode_payload(part(0, 1)) is None


class TestAssembly:
    def test_the_payloads_of_one_sender_are_told_apart_by_channel_and_id(self) -> None:
        assembly = Assembly()
        assert received(assembly, part(0, 2, "1"), part(0, 2, "3", name="q")) == []
        assert received(assembly, part(0, 2, "5"), channel="c") == []
        assert whole(received(assembly, part(1, 2, "2"), part(1, 2, "4", name="q"))) == [b"12", b"34"]
        assert whole(received(assembly, part(1, 2, "6"), channel="c")) == [b"56"]

    def test_a_part_that_comes_again_changes_nothing(self) -> None:
        assembly = Assembly()
        said = [part(0, 3, "1"), part(1, 3, "2"), part(0, 3, "1"), part(1, 3, "2"), part(2, 3, "3"), part(2, 3, "3")]
        assert whole(received(assembly, *said)) == [b"123"]
        assert received(assembly, *said) == []

    def test_a_gap_is_said_once(self) -> None:
        assembly = Assembly()
        dropped = given_up(received(assembly, part(0, 9), part(1, 9), part(4, 9), part(5, 9)))
        assert dropped == Dropped("a", None, "p", 2, 9, "parts 2 to 3 did not arrive")
        assert assembly.held == 0

    def test_a_payload_whose_beginning_was_missed_is_said_once(self) -> None:
        dropped = given_up(received(Assembly(), part(1, 3), part(2, 3), channel="c"))
        assert dropped == Dropped("a", "c", "p", 0, 3, "part 0 did not arrive")

    def test_the_rest_is_given_up_some_time_after_the_last_part(self) -> None:
        assembly = Assembly()
        assert assembly.deadline() is None
        assembly.receive("a", None, part(0, 3), 0.5)
        assembly.receive("b", None, part(0, 3), 1.0)
        assembly.receive("a", None, part(1, 3), 5.0)
        assert assembly.deadline() == 1.0 + PATIENCE_SECONDS
        assert assembly.tick(0.9 + PATIENCE_SECONDS) == []
        assert assembly.tick(1.0 + PATIENCE_SECONDS) == [
            Dropped("b", None, "p", 1, 3, "no further part came within 30 s")
        ]
        assert whole(assembly.receive("a", None, part(2, 3), 1.0 + PATIENCE_SECONDS)) == [b"111"]
        assert assembly.deadline() is None

    def test_of_too_many_payloads_of_one_sender_the_one_that_was_silent_longest_goes(self) -> None:
        assembly = Assembly()
        received(assembly, part(0, 3), sender="b")
        names = [str(number) for number in range(UNFINISHED_PER_SENDER)]
        received(assembly, *(part(0, 3, name=name) for name in names), part(1, 3, name="0"))
        dropped = given_up(received(assembly, part(0, 3, name="one more")))
        assert (dropped.sender, dropped.id, dropped.got) == ("a", "1", 1)
        assert whole(received(assembly, part(2, 3, name="0"))) == [b"111"]

    def test_the_sender_that_holds_most_gives_up_what_exceeds_the_budget(self) -> None:
        assembly = Assembly(budget=3 * UNFINISHED_COST + 1_000)
        received(assembly, part(0, 2, "4" * 400), sender="modest")
        received(assembly, part(0, 2, "1" * 300), part(0, 3, "2" * 200, name="q"), sender="greedy")
        dropped = given_up(received(assembly, part(1, 3, "3" * 200, name="q"), sender="greedy"))
        assert (dropped.sender, dropped.id) == ("greedy", "p")
        assert "bytes" in dropped.why
        assert whole(received(assembly, part(1, 2, "4"), sender="modest")) == [b"4" * 401]

    def test_a_payload_that_grows_too_large_is_given_up(self) -> None:
        assembly = Assembly()
        half = "0" * (MAX_JOINED_SIZE // 2)
        assert received(assembly, part(0, 4, half), part(1, 4, half)) == []
        assert given_up(received(assembly, part(2, 4, "0"))).why == f"it has more than {MAX_JOINED_SIZE} bytes"

    @pytest.mark.parametrize(
        ("said", "why"),
        [
            ([part(0, 0)], "number 0, counted from 0, of 0"),
            ([part(0, -1)], "of -1"),
            ([part(-1, 2)], "number -1"),
            ([part(2, 2)], "number 2, counted from 0, of 2"),
            ([part(10**40, 2)], "of 2"),
            ([part(0, 3), part(1, 4)], "disagree on how many they are: 3 and 4"),
            ([part(0, 3), part(0, 4)], "disagree on how many they are: 3 and 4"),
            ([part(0, 2, "")], "part 0 is empty"),
            ([part(0, 2, '{"a"'), part(1, 2, "1}")], "no JSON"),
            ([part(0, 1, "NaN")], "no JSON"),
            ([part(0, 1, "1 2")], "no JSON"),
            ([part(0, 1, "[" * 100_000 + "]" * 100_000)], "nested too deeply"),
            ([part(0, 1, name="")], "has 0 characters"),
            ([part(0, 1, name="p" * (MAX_MESSAGE_ID + 1))], "has 129 characters"),
            ([Raw(b'{"type":"part","id":"p","seq":"0","of":1,"text":""}')], r"Expected `int`, got `str` - at `\$.seq`"),
            ([Raw(b'{"type":"part","id":"p","seq":0,"of":1.5,"text":""}')], r"at `\$.of`"),
            ([Raw(b'{"type":"part","id":"p","seq":0,"of":1,"text":"\xff"}')], "cannot be read"),
        ],
    )
    def test_a_part_that_makes_no_sense_is_said(self, said: list[Raw], why: str) -> None:
        assembly = Assembly()
        assert all(is_part(one) for one in said)
        assert re.search(why, given_up(received(assembly, *said)).why)
        assert assembly.held == 0

    def test_only_so_many_ended_payloads_are_remembered(self) -> None:
        assembly = Assembly()
        received(assembly, *(part(0, 1, name=str(number)) for number in range(ENDED_KNOWN)))
        assert received(assembly, part(0, 1, name="0")) == []
        assert whole(received(assembly, part(0, 1, name="new"), part(0, 1, name="0"))) == [b"1", b"1"]


@given(
    sent=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([None, "c"]), values), max_size=4),
    limit=st.integers(LEAST_LIMIT, 200),
    seed=st.integers(0, 2**32),
)
def test_payloads_whose_parts_interleave_and_repeat_all_arrive_once(
    sent: list[tuple[str, str | None, Any]], limit: int, seed: int
) -> None:
    """Each payload's parts come in order; between them come those of others, and any that came before."""
    rng = random.Random(seed)
    lines = [(who, where, cut(encode_json(value), limit, str(n))) for n, (who, where, value) in enumerate(sent)]
    turns = [n for n, (_, _, pieces) in enumerate(lines) for _ in pieces]
    rng.shuffle(turns)
    assembly, arrived, stepped = Assembly(), [], [0] * len(lines)
    for n in turns:
        who, where, pieces = lines[n]
        stepped[n] += 1
        for piece in (pieces[rng.randrange(stepped[n])] if stepped[n] > 1 else pieces[0], pieces[stepped[n] - 1]):
            arrived += [(n, outcome) for outcome in assembly.receive(who, where, piece, 0.0)]
    assert {n: whole([outcome]) for n, outcome in arrived} == {
        n: [encode_json(value)] for n, (_, _, value) in enumerate(sent)
    }
    assert len(arrived) == len(sent)
    assert assembly.held == 0


numbers = st.integers(-1, 4)
garbage = st.builds(part, numbers, numbers, st.text('{}[]":,0\\', max_size=300), st.sampled_from(["p", "q", "r"]))
said_by_anyone = st.tuples(st.sampled_from("abcdef"), st.none() | st.just("c"), garbage, st.floats(0, 20))


@given(st.lists(said_by_anyone, max_size=80))
def test_no_parts_exceed_the_bounds_and_each_payload_is_joined_or_said_to_be_given_up(
    said: list[tuple[str, str | None, Raw, float]],
) -> None:
    budget = 4 * UNFINISHED_COST
    assembly, now, begun, ended = Assembly(budget), 0.0, set(), set()
    for sender, channel, one, pause in said:
        now += pause
        begun.add((sender, channel, json.loads(bytes(one))["id"]))
        outcomes = assembly.tick(now) + assembly.receive(sender, channel, one, now)
        ended |= {(each.sender, each.channel, each.id) for each in outcomes if isinstance(each, Dropped)}
        if whole(outcomes):
            ended.add((sender, channel, json.loads(bytes(one))["id"]))
        assert 0 <= assembly.held <= budget
    for each in assembly.tick(now + PATIENCE_SECONDS):
        assert isinstance(each, Dropped)
        ended.add((each.sender, each.channel, each.id))
    assert begun == ended
    assert assembly.held == 0


def refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


@given(st.lists(st.sampled_from(["{", "}", "[", "]", ",", ":", "0", "-", ".", "e1", '"', "\\", "a", "null", " "])))
def test_what_is_joined_is_json_to_a_stricter_reader_too(tokens: list[str]) -> None:
    text = "".join(tokens) or " "
    if whole(received(Assembly(), part(0, 1, text))):
        json.loads(text, parse_constant=refuse)


@given(st.binary(max_size=80))
def test_no_bytes_disturb_either_reader(noise: bytes) -> None:
    for data in (noise, b'{"type":"part"' + noise, b'{"type":"part","id":"p","seq":0,"of":1,"text":"' + noise + b'"}'):
        is_part(Raw(data))
        Assembly().receive("a", None, Raw(data), 0.0)
