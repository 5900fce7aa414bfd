"""Hubs joined by the messages of Redis or Valkey: `pip install 'topology-orchestrator[redis]'`.

One connection in the third version of the protocol (Redis 6, any Valkey), in which messages come between answers;
hiredis tells them apart. The client library's own way to messages costs many times as much for each.

- Order: the engine does one thing at a time, and does what one connection says in its order. What was under way by a
  lost connection is passed over when something of the next one was heard.
- Nobody: the engine answers with how many it has handed a message to, which takes in this hub itself. A replica of the
  engine does not count, so hubs have to use one and the same server: a replica is not spoken to. Nor is a Redis
  Cluster, whose nodes count by themselves alone.
- In force: what was subscribed to is in force with the whole engine when a ping behind it is answered.
- Slow: a hub that does not read is disconnected by the engine (``client-output-buffer-limit pubsub``, by default at
  32 MiB, or after a minute at 8 MiB), and comes back.
- Permitted has to be what begins with the namespace, and patterns of any kind (``allchannels``): the engine compares
  patterns by their text.
- Patterns: each one of the cluster is looked at for each message of any of them.
"""

from __future__ import annotations

import ssl
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from hiredis import ProtocolError, PushNotification, Reader, ReplyError

from orchestrator.hub.backplane import BackplaneProblem
from orchestrator.hub.lasting import LastingEnd
from orchestrator.hub.origins import STAMP
from orchestrator.hub.subjects import redis_channel, redis_interest, redis_root, token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from orchestrator.hub.backplane import Listener, Topic
    from orchestrator.hub.engine_url import EngineUrl
    from orchestrator.hub.line import Line

_LARGEST: Final = 8 * 1024 * 1024
"""Bytes of a message. The engine takes more, but disconnects a hub for which many of those wait."""
_REFUSALS: Final = ("NOAUTH", "WRONGPASS", "NOPERM", "ERR AUTH", "ERR invalid password", "ERR Client sent AUTH")
_TOO_OLD: Final = ("ERR unknown command", "NOPROTO")
_HEADS: Final = 65_536
"""Topics whose way to be spoken to is remembered."""
_AT_ONCE: Final = 1_000
"""Subscriptions in one command."""
_NOTHING: Final = object()

Channel = tuple[bytes, bool]
"""A channel or pattern, and which of them it is."""


class RedisBackplane(LastingEnd[Channel]):
    def __init__(
        self, url: EngineUrl, node: str, listener: Listener, *, patience: float, room: int, ca: Path | None = None
    ) -> None:
        super().__init__(url, listener, patience, room)
        self._name = f"orchestrator-{token(node)}"
        self._ca = ca
        self._largest = _LARGEST
        self._answers: deque[Callable[[Any], None] | int | None] = deque()
        """What each answer is for: an ask by its ticket, `None` for a publish."""
        self._heads: dict[Topic, bytes] = {}
        self._reader = Reader(notEnoughData=_NOTHING)

    # -- the hot path

    def publish(self, topic: Topic, message: bytes) -> bool:
        return self._speak(topic, message, None)

    def ask(self, topic: Topic, message: bytes, ticket: int) -> bool:
        return self._speak(topic, message, ticket)

    def _speak(self, topic: Topic, message: bytes, ticket: int | None) -> bool:
        line, size = self._line, len(message) + STAMP
        if not self._up or line is None or size > _LARGEST:
            return False
        head = self._heads.get(topic) or self._head(topic)
        if not line.offer(b"%b%d\r\n%b%b\r\n" % (head, size, self._stamp, message)):
            return False
        self._answers.append(ticket)
        return True

    def _head(self, topic: Topic) -> bytes:
        if len(self._heads) >= _HEADS:
            self._heads.clear()
        channel = redis_channel(self._url.namespace, topic)
        head = self._heads[topic] = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$" % (len(channel), channel)
        return head

    def _take(self, data: bytes) -> None:
        reader, answers = self._reader, self._answers
        reader.feed(data)
        while (reply := reader.gets()) is not _NOTHING:
            if type(reply) is PushNotification:
                if reply[0] == b"message":
                    self._message(reply[2])
                elif reply[0] == b"pmessage":
                    self._message(reply[3])
            elif isinstance(reply, ReplyError) and self._known:
                self._rejected(str(reply))
                return
            elif answers:
                answer = answers.popleft()
                if answer is None:
                    continue
                if not isinstance(answer, int):
                    answer(reply)
                elif reply == 0 and self._up:
                    self._listener.nobody(answer)

    def _message(self, message: bytes) -> None:
        if self._up and self._origins.takes(message[:STAMP]):
            self._listener.heard(message[STAMP:])

    def _rejected(self, said: str) -> None:
        """Something was not done, so not everything is in force, or not everything is sent."""
        if said.startswith(_REFUSALS):
            self._refused(said)
        elif self._line is not None:
            self._line.fail(said)

    # -- coming and going

    def _servers(self) -> Iterable[tuple[str, int]]:
        return self._url.servers

    async def _greet(self, host: str, port: int) -> None:
        self._reader = Reader(notEnoughData=_NOTHING)
        line = self._new_line(self._fed)
        await line.connect(host, port, self._context() if self._url.scheme == "rediss" else None)
        greeting = ["HELLO", "3"]
        if self._url.password is not None:
            greeting += ["AUTH", self._url.user or "default", self._url.password]
        greeting += ["SETNAME", self._name]
        said = await self._answer_to(line, *(part.encode() for part in greeting))
        mode, role = (said[key].decode() if key in said else "" for key in (b"mode", b"role"))
        if mode == "cluster":
            raise BackplaneProblem(
                f"the backplane {self._url.shown} is a Redis Cluster, which does not know whether anybody listens on "
                "another of its nodes; allowed is a server that stands alone, or one that Sentinel looks after"
            )
        if role not in ("master", ""):
            raise ConnectionError(f"it is a {role}, and hubs that use another one would not be heard")
        probe = redis_root(self._url.namespace) + b"probe"
        await self._answer_to(line, b"PUBLISH", probe, b"")

    def _fed(self, data: bytes) -> None:
        try:
            self._take(data)
        except ProtocolError as error:
            if self._line is not None:
                self._line.fail(f"it does not speak as Redis does ({error})")

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._ca is not None:
            context.load_verify_locations(self._ca)
        return context

    async def _answer_to(self, line: Line, *command: bytes) -> Any:
        """Raises `BackplaneProblem` when it is refused, and `ConnectionError` when it cannot be done now."""
        replies: list[Any] = []

        def answer(reply: Any) -> None:
            replies.append(reply)
            self._answered()

        self._answers.append(answer)
        line.say(_command(*command))
        await self._answer()
        said = replies[0]
        if isinstance(said, ReplyError):
            text = str(said)
            if text.startswith(_REFUSALS):
                raise BackplaneProblem(f"the backplane {self._url.shown} refuses this hub: {text}")
            if text.startswith(_TOO_OLD):
                raise BackplaneProblem(f"the backplane {self._url.shown} has to be Redis 6 or newer, or Valkey")
            raise ConnectionError(text)
        return said

    def _line_or_error(self) -> Line:
        if self._line is None or self._line.over:
            raise ConnectionError(self._refusal or "it closed the connection")
        return self._line

    def _subscribe(self, interests: Iterable[Channel]) -> None:
        line = self._line_or_error()
        wanted: dict[bool, list[bytes]] = {False: [], True: []}
        for channel, wild in interests:
            wanted[wild].append(channel)
        for wild, channels in wanted.items():
            for at in range(0, len(channels), _AT_ONCE):
                line.say(_command(b"PSUBSCRIBE" if wild else b"SUBSCRIBE", *channels[at : at + _AT_ONCE]))

    def _unsubscribe(self, interest: Channel) -> None:
        channel, wild = interest
        self._line_or_error().say(_command(b"PUNSUBSCRIBE" if wild else b"UNSUBSCRIBE", channel))

    def _interest(self, topic: Topic) -> Channel:
        return redis_interest(self._url.namespace, topic)

    def _ping(self, answered: Callable[[], None]) -> None:
        self._answers.append(lambda _: answered())
        self._line_or_error().say(b"*1\r\n$4\r\nPING\r\n")

    def _forget(self) -> None:
        self._answers.clear()


def _command(*parts: bytes) -> bytes:
    return b"*%d\r\n%b" % (len(parts), b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
