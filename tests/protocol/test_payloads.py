"""What agents say inside `data`, and that programs which know less of it are understood, in both directions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from orchestrator.protocol import payloads as p
from orchestrator.protocol.frames import encode_json
from orchestrator.protocol.payloads import decode_payload, plain

PLAIN_PROGRAMS: list[tuple[dict[str, Any], Any]] = [
    ({"type": "task", "taskId": "t1", "prompt": "hi", "from": "boss"}, p.TaskOffer("t1", "boss", prompt="hi")),
    ({"type": "task", "taskId": "t1", "prompt": "hi"}, p.TaskOffer("t1", prompt="hi")),
    ({"type": "task-result", "taskId": "t1", "result": {"a": 1}}, p.TaskResult("t1", Raw(b'{"a": 1}'))),
    ({"type": "task-result", "taskId": "t1"}, p.TaskResult("t1")),
    ({"type": "task-cancel", "taskId": "t1"}, p.TaskCancel("t1")),
    ({"type": "wake"}, p.Wake()),
    ({"type": "ask", "prompt": "why?"}, p.Ask("why?")),
    ({"type": "completion-chunk", "content": "a", "done": False}, p.CompletionChunk(content=Raw(b'"a"'))),
    ({"type": "completion-chunk", "content": "", "done": True}, p.CompletionChunk(content=Raw(b'""'), done=True)),
    ({"type": "completion-chunk", "streamId": "s", "seq": 0, "content": "a"}, p.CompletionChunk("s", 0, Raw(b'"a"'))),
    ({"type": "claim", "itemId": "7", "from": "checker.1"}, p.ClaimNotice("7", "checker.1")),
    ({"type": "reject", "itemId": "7", "from": "checker.1"}, p.RejectNotice("7", "checker.1")),
    ({"type": "release", "itemId": "7", "from": "checker.1"}, p.ReleaseNotice("7", "checker.1")),
    ({"type": "event", "event": "Opened"}, p.EventNotice("Opened")),
    ({"type": "state", "key": "k", "version": [1, "a"], "value": None}, p.StateNotice("k", (1, "a"), Raw(b"null"))),
]


@pytest.mark.parametrize(("said", "understood"), PLAIN_PROGRAMS)
def test_a_program_that_knows_the_oldest_fields_alone_is_understood(said: dict[str, Any], understood: Any) -> None:
    assert decode_payload(json.dumps(said).encode()) == understood


@pytest.mark.parametrize(("said", "understood"), PLAIN_PROGRAMS)
def test_fields_that_we_do_not_know_are_passed_over(said: dict[str, Any], understood: Any) -> None:
    more = {**said, "model": "small", "attachments": [{"a": None}]}
    assert decode_payload(json.dumps(more).encode()) == understood


OURS: list[tuple[Any, dict[str, Any]]] = [
    (
        p.TaskOffer("t", "editor", "Research", Raw(b'{"topic":"a"}'), attempt=2, deadline=9.5),
        {"type": "task", "taskId": "t", "from": "editor", "task": "Research", "payload": {"topic": "a"}, "attempt": 2, "deadline": 9.5},
    ),
    (p.TaskAccepted("t", 2, p.Load(1, 4)), {"type": "task-accepted", "taskId": "t", "attempt": 2, "load": {"inflight": 1, "capacity": 4}}),
    (p.TaskRefused("t", 2, "full"), {"type": "task-refused", "taskId": "t", "attempt": 2, "reason": "full"}),
    (p.TaskProgress("t", 2, 0.5, "half"), {"type": "task-progress", "taskId": "t", "attempt": 2, "progress": 0.5, "message": "half"}),
    (p.TaskResult("t", Raw(b"1"), 2), {"type": "task-result", "taskId": "t", "result": 1, "attempt": 2}),
    (
        p.TaskError("t", p.Failure("ValueError", "no", retryable=True), 2),
        {"type": "task-error", "taskId": "t", "error": {"type": "ValueError", "message": "no", "retryable": True}, "attempt": 2},
    ),
    (p.TaskCancel("t"), {"type": "task-cancel", "taskId": "t"}),
    (p.Wake(), {"type": "wake"}),
    (p.Ask("why?", "t"), {"type": "ask", "prompt": "why?", "taskId": "t"}),
    (p.CompletionChunk("t", 3, Raw(b'"a"')), {"type": "completion-chunk", "streamId": "t", "seq": 3, "content": "a"}),
    (p.StreamResume("t", 4), {"type": "stream-resume", "streamId": "t", "from": 4}),
    (p.StreamAck("t", 4), {"type": "stream-ack", "streamId": "t", "seq": 4}),
    (p.EventNotice("Opened", Raw(b'{"a":1}')), {"type": "event", "event": "Opened", "payload": {"a": 1}}),
    (p.ClaimNotice("7", "a.1", 5), {"type": "claim", "itemId": "7", "from": "a.1", "lamport": 5}),
    (p.RejectNotice("7", "a.1", "a.2"), {"type": "reject", "itemId": "7", "from": "a.1", "winner": "a.2"}),
    (p.ReleaseNotice("7", "a.1"), {"type": "release", "itemId": "7", "from": "a.1"}),
    (p.HoldNotice("7", "a", 3), {"type": "hold", "itemId": "7", "from": "a", "lamport": 3}),
    (p.StateNotice("k", (3, "a.1"), Raw(b"[1]")), {"type": "state", "key": "k", "value": [1], "version": [3, "a.1"]}),
    (p.StateNotice("k", (4, "a.1"), deleted=True), {"type": "state", "key": "k", "version": [4, "a.1"], "deleted": True}),
    (p.StateMany((Raw(b'["k",3,"a.1",1]'),)), {"type": "state-many", "entries": [["k", 3, "a.1", 1]]}),
    (p.StateDigest("0f", 3, ("a.2",)), {"type": "state-digest", "root": "0f", "clock": 3, "awaiting": ["a.2"]}),
    (p.StateSync("t", "0f", 3, wants=("k",)), {"type": "state-sync", "channel": "t", "root": "0f", "wants": ["k"]}),
    (p.StateVersions("t", (Raw(b'["k",3,"a.1","f"]'),)), {"type": "state-versions", "items": [["k", 3, "a.1", "f"]]}),
    (p.StatePage("t", "0f", (), 3, last=True, resume=4), {"type": "state-page", "channel": "t", "last": True, "resume": 4}),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "said"), OURS, ids=[type(payload).__name__ for payload, _ in OURS])
def test_a_payload_holds_the_fields_that_other_programs_look_for(payload: Any, said: dict[str, Any]) -> None:
    written = json.loads(encode_json(payload))
    assert {name: written[name] for name in said} == said
    assert decode_payload(encode_json(payload)) == payload


def test_every_kind_of_payload_is_listed_here() -> None:
    assert {type(payload) for payload, _ in OURS} == set(p.AnyPayload.__args__)


def test_a_plain_reader_finds_a_chunk_in_what_we_send() -> None:
    """Programs in other languages look for `content` and `done` in each chunk, and may compare `done` strictly."""
    first, last = p.CompletionChunk("t", 0, Raw(b'"a"')), p.CompletionChunk("t", 1, done=True)
    assert json.loads(encode_json(first))["content"] == "a"
    assert json.loads(encode_json(first))["done"] is False
    assert json.loads(encode_json(last))["done"] is True
    assert json.loads(encode_json(last))["content"] == ""


@pytest.mark.parametrize(
    "said",
    [
        b'{"type":"rtc-description","description":{}}',
        b'{"type":"task"}',
        b'{"type":"task","taskId":7}',
        b'{"type":"task","taskId":"t","attempt":"first"}',
        b'{"type":"task-error","taskId":"t","error":"no"}',
        b'{"type":"claim","itemId":"7","lamport":1.5}',
        b'{"taskId":"t"}',
        b"[]",
        b"7",
        b"null",
        b'"task"',
        b"",
        b"\xff",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"type":"task","taskId":"t","payload":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_none_of_our_shapes_is_no_error(said: bytes) -> None:
    assert decode_payload(said) is None


@given(st.binary(max_size=60))
def test_no_bytes_disturb_the_reader(noise: bytes) -> None:
    decode_payload(noise)


def test_plain_values_come_out_of_raw_json() -> None:
    assert plain(Raw(b'{"a":[1,null]}')) == {"a": [1, None]}


@pytest.mark.parametrize("said", [b"", b"{", b"NaN", b"[" * 100_000 + b"]" * 100_000])
def test_what_is_no_json_is_a_value_error(said: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        plain(said)
