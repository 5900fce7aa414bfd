"""Where the microseconds of a message go that crosses from one hub to another: each step by itself, without sockets."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import timeit
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bench.cluster_servers import NAMESPACE
from bench.measuring import run
from bench.verdict import tell
from orchestrator.hub import wire
from orchestrator.hub.admission import admit
from orchestrator.hub.backplane import Kind, Topic
from orchestrator.hub.core import Hub
from orchestrator.hub.engine_url import EngineUrl
from orchestrator.hub.envelopes import Answers, Published, Sent, decode, encode
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.nats import NatsBackplane
from orchestrator.hub.nats_wire import NatsReader
from orchestrator.hub.origins import STAMP, Origins
from orchestrator.hub.redis import RedisBackplane
from orchestrator.hub.settings import Settings
from orchestrator.protocol.tokens import Claims, SecretKey, mint

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.hub.connections import Connection

KEY: Final = SecretKey("sk_id_bench", "k" * 40, rate="unlimited")
_WALL: Final = 1_790_000_000.0
_CHANNEL: Final = "load/fan-out"
_DATA: Final = b'{"type":"load","n":"0000007","at":"9999999999999999999","text":"%b"}' % (b"x" * 55)
_PUBLISH: Final = b'{"type":"publish","channel":"%b","data":%b,"requestId":"r0000001"}' % (_CHANNEL.encode(), _DATA)
_SEND: Final = b'{"type":"send","to":"load-b-0","data":%b,"requestId":"r0000001"}' % _DATA


class Silence:
    """A backplane on which nobody else is."""

    up = True
    largest = 1 << 20

    async def __aenter__(self) -> Silence:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def listen(self, topic: Topic) -> None: ...

    def ignore(self, topic: Topic) -> None: ...

    def barrier(self, ticket: int) -> None: ...

    def publish(self, topic: Topic, message: bytes) -> bool:  # noqa: ARG002 - as it is called
        return True

    def ask(self, topic: Topic, message: bytes, ticket: int) -> bool:  # noqa: ARG002 - as it is called
        return True


class Taken:
    """Stands where the connection to an engine is, and for whoever hears of it."""

    def offer(self, data: bytes) -> bool:  # noqa: ARG002 - as it is called
        return True

    def heard(self, message: bytes) -> None: ...


class Reader:
    """The owner of an outbox, whose socket takes everything at once."""

    def __init__(self, outbox: Any) -> None:
        self._outbox = outbox
        outbox.owner = self

    def flush(self, now: float) -> None:
        self._outbox.take(now)
        self._outbox.sent(now)


def hub(joined: bool) -> Hub:
    made = Hub(Settings())
    if joined:
        made.join("hub1-0011223344ff", Silence(), 0.0)
    return made


def connected(to: Hub, sub: str, *channels: str) -> Connection:
    token = mint(KEY, Claims(sub=sub, exp=int(_WALL + 80_000), rate="unlimited"))
    identity = admit(f"token={token}", None, KeyRing([KEY], []), _WALL, str)
    outbox = to.outbox()
    Reader(outbox)
    connection = to.connect(identity, outbox, 1.0, _WALL)
    assert connection is not None
    for corks in range(outbox.corks):
        del corks
        outbox.uncork()
    for channel in channels:
        to.receive(connection, b'{"type":"subscribe","channel":"%b"}' % channel.encode(), 1.0)
        while outbox.corks:
            outbox.uncork()
    ended(to)
    return connection


def ended(of: Hub) -> None:
    """Do what is done at the end of a turn."""
    turn = of.turn
    if turn.owed and of.cluster is not None:
        of.cluster.speak()
    dirty, turn.dirty = turn.dirty, []
    for outbox in dirty:
        outbox.cleaned()
        if outbox.owner is not None:
            outbox.owner.flush(1.0)


class Bench:
    def __init__(self, repeat: int, number: int) -> None:
        self._repeat, self._number = repeat, number
        self.found: dict[str, float] = {}

    def of(self, what: str, act: Callable[[], object]) -> None:
        """Note the microseconds of the processor for one call, in the quickest of the runs."""
        act()
        took = min(timeit.repeat(act, number=self._number, repeat=self._repeat, timer=time.process_time))
        self.found[what] = round(took / self._number * 1e6, 2)
        print(f"{self.found[what]:8.2f} us  {what}", file=sys.stderr, flush=True)


def envelopes(bench: Bench) -> None:
    frame = wire.message(_CHANNEL.encode(), b'"load-publisher"', msgspec.Raw(_DATA))
    said = Published("hub2-0011223344ff", 1_000_000, "bench", _CHANNEL, "load-publisher", frame, None, None)
    message = encode(said)
    sent = encode(Sent("hub2-0011223344ff", 1_000_000, "bench", "load-b-0", "load-a-0", frame, None, 7))
    answers = encode(Answers("hub2-0011223344ff", 1_000_000, (7,), ()))
    bench.of("a publish: encode", lambda: encode(said))
    bench.of("a publish: decode", lambda: decode(message))
    bench.of("a send: decode", lambda: decode(sent))
    bench.of("an answer: decode", lambda: decode(answers))
    origins, other = Origins(), Origins().stamp()
    bench.of("is it of another hub, and not too late", lambda: origins.takes(other))
    line = b"MSG orchestrator.1.bench.c.bench.load.fan-out 17 %d\r\n%b%b\r\n" % (len(message) + STAMP, other, message)
    told: Any = object()  # nothing but messages comes
    reader = NatsReader(lambda _message: None, told)
    bench.of("NATS: read one message", lambda: reader.feed(line))
    sixteen = line * 16
    bench.of("NATS: read 16 at once, / 16", lambda: reader.feed(sixteen))
    bench.found["NATS: read 16 at once, / 16"] = round(bench.found["NATS: read 16 at once, / 16"] / 16, 3)


def engines(bench: Bench) -> None:
    url = EngineUrl("nats", (("127.0.0.1", 1),), namespace=NAMESPACE)
    topic, message = Topic(Kind.CHANNEL, "bench", _CHANNEL), b"m" * 300
    for name, engine in (("NATS", NatsBackplane), ("Redis", RedisBackplane)):
        end: Any = engine(url, "hub1", Taken(), patience=1.0, room=1 << 40)  # type: ignore[arg-type]
        end._line, end._up = Taken(), True
        bench.of(f"{name}: publish", lambda end=end: end.publish(topic, message))  # type: ignore[misc]
        if name == "NATS":
            bench.of(f"{name}: ask", lambda end=end: end.ask(topic, message, 7))  # type: ignore[misc]


def hubs(bench: Bench) -> None:
    alone, joined = hub(joined=False), hub(joined=True)
    from_alone = connected(alone, "load-publisher")
    from_joined = connected(joined, "load-publisher")

    def asked(of: Hub, by: Connection, request: bytes) -> Callable[[], None]:
        def act() -> None:
            of.receive(by, request, 1.0)
            ended(of)

        return act

    bench.of("one hub: a publish to nobody, with its ack", asked(alone, from_alone, _PUBLISH))
    bench.of("the hub of the sender: a publish, with its ack", asked(joined, from_joined, _PUBLISH))
    connected(alone, "load-b-0")
    bench.of("one hub: a send, with its ack", asked(alone, from_alone, _SEND))
    for number in range(100):
        connected(alone, f"reader-{number}", _CHANNEL)
    bench.of("one hub: a publish to 100, with its ack", asked(alone, from_alone, _PUBLISH))
    other(bench, joined)


def other(bench: Bench, there: Hub) -> None:
    """Have a hub hear what others send and publish."""
    connected(there, "load-b-0")
    (there_app,) = there.apps()
    app = there_app.name
    cluster, numbers = there.cluster, itertools.count(1)
    assert cluster is not None
    frame = wire.message(_CHANNEL.encode(), b'"load-publisher"', msgspec.Raw(_DATA))
    node = "hub2-0011223344ff"

    def sent() -> None:
        cluster.heard(encode(Sent(node, next(numbers), app, "load-b-0", "load-a-0", frame, None, 7)))
        ended(there)

    def published() -> None:
        cluster.heard(encode(Published(node, next(numbers), app, _CHANNEL, "load-publisher", frame, None, None)))
        ended(there)

    bench.of("the hub of the receiver: a send comes, and is answered", sent)
    for count in (1, 100):
        while len(there_app.peers) < count + 2:
            connected(there, f"reader-{len(there_app.peers)}", _CHANNEL)
        bench.of(f"the hub of the subscribers: a publish comes, for {count}", published)


async def measure(options: argparse.Namespace) -> None:
    bench = Bench(options.repeat, options.number)
    envelopes(bench)
    engines(bench)
    hubs(bench)
    tell("cluster_path", [], {"us": bench.found})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--number", type=int, default=2_000)
    run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
