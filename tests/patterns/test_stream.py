from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from orchestrator.patterns.effects import Send
from orchestrator.patterns.stream import (
    ACK_BYTES,
    ACK_EVERY,
    CREDIT_CHUNKS,
    MERGED_BYTES,
    REPLAY_BYTES,
    REPLAY_SECONDS,
    Ended,
    Piece,
    Reader,
    Reading,
    Writer,
)
from orchestrator.protocol.payloads import CompletionChunk, Failure, StreamAck, StreamResume


def chunk(seq: int | None, text: str = "") -> CompletionChunk:
    return CompletionChunk("s", seq, Raw(f'"{text or seq}"'.encode()))


def texts(reading: list[Reading]) -> list[str]:
    return [bytes(read.content).decode().strip('"') for read in reading if isinstance(read, Piece)]


def written(count: int) -> Writer:
    writer = Writer("s")
    for number in range(count):
        writer.push(Raw(f'"{number}"'.encode()))
    return writer


def sent(writer: Writer) -> list[int | None]:
    chunks = []
    while (one := writer.pending()) is not None:
        chunks.append(one.seq)
    return chunks


class TestWriter:
    def test_chunks_are_numbered_from_0_and_the_last_has_a_number_of_its_own(self) -> None:
        writer = written(2)
        writer.end(0.0)
        assert sent(writer) == [0, 1, 2]
        assert writer.unsent == 0

    def test_a_rewind_sends_again_from_there(self) -> None:
        writer = written(5)
        sent(writer)
        assert writer.rewind(3)
        assert sent(writer) == [3, 4]

    def test_what_the_reader_has_is_let_go_and_cannot_be_sent_again(self) -> None:
        writer = written(5)
        sent(writer)
        writer.acked(2)
        assert not writer.rewind(2)
        assert writer.rewind(3)

    def test_a_reader_cannot_have_more_than_was_sent(self) -> None:
        writer = written(2)
        writer.acked(10)
        assert writer.rewind(0)

    def test_the_oldest_chunks_go_when_more_is_kept_than_allowed(self) -> None:
        writer = Writer("s")
        for _ in range(5):
            writer.push(Raw(b'"' + b"x" * (REPLAY_BYTES // 4) + b'"'))
            writer.pending()
        assert not writer.rewind(0)
        assert writer.rewind(4)

    def test_a_chunk_that_was_not_sent_is_never_let_go(self) -> None:
        writer = Writer("s")
        for _ in range(5):
            writer.push(Raw(b'"' + b"x" * (REPLAY_BYTES // 2) + b'"'))
        assert sent(writer) == [0, 1, 2, 3, 4]

    def test_a_reader_that_never_acknowledges_does_not_stop_the_producer(self) -> None:
        assert written(CREDIT_CHUNKS * 3).has_room

    def test_a_reader_that_acknowledges_stops_the_producer_when_it_falls_behind(self) -> None:
        writer = written(1)
        writer.acked(0)
        for _ in range(CREDIT_CHUNKS):
            assert writer.has_room
            writer.push(Raw(b"1"))
        assert not writer.has_room
        writer.acked(5)
        assert writer.has_room

    def test_text_that_was_not_sent_yet_becomes_one_with_the_text_before_it(self) -> None:
        writer = Writer("s")
        for text in ("a", "b"):
            writer.push(Raw(f'"{text}"'.encode()), merge=True)
        assert bytes(writer.pending().content) == b'"ab"'  # type: ignore[union-attr]
        writer.push(Raw(b'"c"'), merge=True)
        writer.push(Raw(b'"d"'), merge=False)
        writer.push(Raw(b'"e"'), merge=True)
        writer.end(0.0)
        chunks = list(iter(writer.pending, None))
        assert [(one.seq, bytes(one.content), one.done) for one in chunks] == [
            (1, b'"c"', False),
            (2, b'"de"', False),
            (3, b'""', True),
        ]
        assert writer.kept_bytes == len('"ab""c""de"""')

    def test_what_was_sent_once_stays_as_it_is_also_when_it_is_to_be_sent_again(self) -> None:
        writer = written(2)
        sent(writer)
        writer.rewind(0)
        writer.push(Raw(b'"x"'), merge=True)
        assert [bytes(one.content) for one in iter(writer.pending, None)] == [b'"0"', b'"1"', b'"x"']

    def test_merged_text_stays_small(self) -> None:
        writer = Writer("s")
        for _ in range(100):
            writer.push(Raw(b'"' + b"x" * 1_000 + b'"'), merge=True)
        assert {len(bytes(one.content)) <= MERGED_BYTES for one in iter(writer.pending, None)} == {True}

    def test_a_reader_that_acknowledges_stops_the_producer_before_anything_is_let_go(self) -> None:
        writer = Writer("s")
        writer.acked(-1)
        pushed = 0
        while writer.has_room:
            writer.push(Raw(b'"' + b"x" * 100_000 + b'"'))
            writer.pending()
            pushed += 1
        assert pushed == REPLAY_BYTES // 100_000 + 1
        writer.acked(0)
        assert writer.has_room

    def test_the_producer_waits_while_more_is_unsent_than_may_be_kept(self) -> None:
        writer = Writer("s")
        writer.push(Raw(b'"' + b"x" * REPLAY_BYTES + b'"'))
        assert not writer.has_room
        writer.pending()
        assert writer.has_room

    def test_an_ended_stream_expires_after_its_replay_time(self) -> None:
        writer = written(1)
        assert not writer.expired(10_000.0)
        writer.end(5.0)
        assert not writer.expired(5.0 + REPLAY_SECONDS - 1)
        assert writer.expired(5.0 + REPLAY_SECONDS)


class TestReader:
    def test_chunks_are_read_in_order_each_once(self) -> None:
        reader = Reader("s", "writer")
        assert texts(reader.receive(chunk(1), 0.0)) == []
        assert texts(reader.receive(chunk(0), 0.0)) == ["0", "1"]
        assert texts(reader.receive(chunk(1), 0.0)) == []
        assert texts(reader.receive(chunk(2), 0.0)) == ["2"]

    def test_a_gap_is_asked_for_once_at_a_time(self) -> None:
        reader = Reader("s", "writer")
        assert reader.receive(chunk(2), 0.0) == [Send("writer", StreamResume("s", 0))]
        assert reader.receive(chunk(3), 0.1) == []
        assert reader.receive(chunk(4), 1.0) == [Send("writer", StreamResume("s", 0))]

    def test_the_end_is_read_after_everything_before_it(self) -> None:
        reader = Reader("s", "writer")
        last = CompletionChunk("s", 1, done=True)
        assert [read for read in reader.receive(last, 0.0) if isinstance(read, Ended)] == []
        assert reader.receive(chunk(0), 0.0) == [Piece(chunk(0).content), Ended()]
        assert reader.receive(chunk(2), 0.0) == []

    def test_an_end_with_an_error_says_so(self) -> None:
        failure = Failure("ValueError", "no")
        assert Reader("s", "w").receive(CompletionChunk("s", 0, done=True, error=failure), 0.0) == [Ended(failure)]

    def test_chunks_of_an_older_program_are_read_as_they_come(self) -> None:
        reader = Reader("s", "w")
        assert texts(reader.receive(chunk(None, "a"), 0.0)) == ["a"]
        assert texts(reader.receive(chunk(None, "b"), 0.0)) == ["b"]
        assert reader.receive(CompletionChunk("s", None, done=True), 0.0) == [Ended()]

    def test_what_was_used_is_said_now_and_then(self) -> None:
        reader = Reader("s", "w")
        said: list[Reading] = []
        for number in range(ACK_EVERY * 2):
            reader.receive(chunk(number), 0.0)
            said += reader.consumed()
        assert said == [Send("w", StreamAck("s", used - 1, many=True)) for used in (ACK_EVERY, ACK_EVERY * 2)]

    def test_much_that_was_used_is_said_sooner_than_a_writer_waits_for_it(self) -> None:
        reader, size = Reader("s", "w"), ACK_BYTES // 2
        said: list[Reading] = []
        for number in range(4):
            reader.receive(chunk(number, "x" * size), 0.0)
            said += reader.consumed()
        assert said == [Send("w", StreamAck("s", used, many=True)) for used in (1, 3)]


@given(
    count=st.integers(0, 30),
    order=st.lists(st.integers(0, 30), max_size=120),
)
def test_whatever_is_lost_doubled_or_late_the_reader_gets_all_of_it_in_order_once(count: int, order: list[int]) -> None:
    """The link delivers arbitrary chunks in arbitrary order, then heals: what the reader asks for arrives."""
    writer, reader = written(count), Reader("s", "writer")
    writer.end(0.0)
    kept = []
    while (one := writer.pending()) is not None:
        kept.append(one)
    reading: list[Reading] = []
    for number in order:
        if number < len(kept):
            reading += reader.receive(kept[number], 0.0)
    for send in reader.resume(1.0):
        assert isinstance(send, Send)
        assert isinstance(send.payload, StreamResume)
        assert writer.rewind(send.payload.start)
    while (one := writer.pending()) is not None:
        reading += reader.receive(one, 0.0)
    assert texts(reading) == [str(number) for number in range(count)]
    assert sum(isinstance(read, Ended) for read in reading) == 1
