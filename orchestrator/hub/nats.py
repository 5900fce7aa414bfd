"""Hubs joined by NATS: `pip install 'topology-orchestrator[nats]'`.

The client library does the greeting, with all that there is to credentials and encryption. After it the connection is
read and written here, because the library hands each message to a queue and a task of its subscription: a hub has a
hundred thousand of those, and nothing would keep the order between two of them.

- Order: a server reads one connection of a hub and writes one to another, and passes on what it reads in its order;
  servers of a cluster do so by one connection between any two of them. What was under way by a lost connection is
  passed over when something of the next one was heard.
- Nobody: a server knows at once whether any subscription takes a message, on it or on another server of its cluster.
  A hub of ours that a message was sent to a moment after it was killed may still count as somebody.
- In force: a server does all that it was told before it answers a ping, so on a single server what was listened to is
  in force. In a cluster it has by then put the subscription into its connections to the other servers, but they may
  not have read it: for about one way between two servers, what is sent by hubs of another server may still be missed,
  and an `ask` be answered by `nobody`. What is sent after anything that we have sent since was heard is not, because
  that travels behind the subscription.
- Slow: a hub that does not read is disconnected by its server (``max_pending``, ``write_deadline``), and comes back.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import random
import secrets
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from nats.aio.client import Client
from nats.aio.transport import Transport
from nats.errors import Error

from orchestrator.hub.backplane import BackplaneProblem
from orchestrator.hub.lasting import LastingEnd
from orchestrator.hub.nats_wire import NatsReader, NotNats
from orchestrator.hub.origins import STAMP
from orchestrator.hub.subjects import nats_interest, nats_root, nats_subject, token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path
    from urllib.parse import ParseResult

    from orchestrator.hub.backplane import Listener, Topic
    from orchestrator.hub.engine_url import EngineUrl
    from orchestrator.hub.line import Line

_REFUSALS: Final = ("authorization", "authentication", "permissions violation")
_HEADS: Final = 65_536
"""Topics whose way to be spoken to is remembered."""
_LARGEST: Final = 1_048_576
"""Bytes of a message where a server does not say."""
_SCHEMES: Final = {False: "nats", True: "tls"}


class NatsBackplane(LastingEnd[str]):
    def __init__(
        self,
        url: EngineUrl,
        node: str,
        listener: Listener,
        *,
        patience: float,
        room: int,
        ca: Path | None = None,
        credentials: Path | None = None,
        nkey: Path | None = None,
    ) -> None:
        super().__init__(url, listener, patience, room)
        self._name = f"orchestrator {token(node)}"
        self._secure = url.scheme == "tls"
        self._ca = ca
        self._credentials = credentials
        self._nkey = nkey
        self._discovered: list[tuple[str, int]] = []
        self._numbers: dict[str, int] = {}
        """The subscriptions of this connection, by subject."""
        self._number = 0
        self._pongs: deque[Callable[[], None]] = deque()
        self._heads: dict[Topic, bytes] = {}
        self._replies = b""
        """What the subjects begin with on which this connection is told that nobody listens."""
        self._largest = _LARGEST
        self._reader = NatsReader(self._message, self)

    # -- the hot path

    def publish(self, topic: Topic, message: bytes) -> bool:
        line, size = self._line, len(message) + STAMP
        if not self._up or line is None or size > self._largest:
            return False
        head = self._heads.get(topic) or self._head(topic)
        return line.offer(b"%b%d\r\n%b%b\r\n" % (head, size, self._stamp, message))

    def ask(self, topic: Topic, message: bytes, ticket: int) -> bool:
        line, size = self._line, len(message) + STAMP
        if not self._up or line is None or size > self._largest:
            return False
        head = self._heads.get(topic) or self._head(topic)
        return line.offer(b"%b%b%d %d\r\n%b%b\r\n" % (head, self._replies, ticket, size, self._stamp, message))

    def _head(self, topic: Topic) -> bytes:
        if len(self._heads) >= _HEADS:
            self._heads.clear()
        head = self._heads[topic] = f"PUB {nats_subject(self._url.namespace, topic)} ".encode()
        return head

    def _message(self, message: bytes) -> None:
        if self._up and self._origins.takes(message[:STAMP]):
            self._listener.heard(message[STAMP:])

    # -- what the server says besides

    def pong(self) -> None:
        if self._pongs:
            self._pongs.popleft()()

    def ping(self) -> None:
        if self._line is not None:
            self._line.say(b"PONG\r\n")

    def status(self, subject: bytes) -> None:
        ticket = subject[len(self._replies) :]
        if self._up and subject.startswith(self._replies) and ticket.lstrip(b"-").isdigit():
            self._listener.nobody(int(ticket))

    def error(self, text: str) -> None:
        if text.lower().startswith(_REFUSALS):
            self._refused(text)
        else:
            self._refusal = text  # whether or not the server goes on to close it: something of ours was not done
            if self._line is not None:
                self._line.fail(text)

    def info(self, line: bytes) -> None:
        """Learn of the other servers of its cluster."""
        urls = json.loads(line).get("connect_urls") or ()
        self._discovered = [(host.strip("[]"), int(port)) for host, _, port in (url.rpartition(":") for url in urls)]

    # -- coming and going

    def _servers(self) -> Iterable[tuple[str, int]]:
        given, found = list(self._url.servers), [one for one in self._discovered if one not in self._url.servers]
        random.shuffle(given)
        random.shuffle(found)
        return (*given, *found)

    async def _greet(self, host: str, port: int) -> None:
        self._reader = NatsReader(self._message, self)
        seam = _Seam(self._answer, self._answered, encrypted_only=self._secure)
        seam.line = self._new_line(seam.take)
        await seam.line.connect(host, port)
        client = Client()
        client._transport = seam  # the one thing that is not its public face: it would make one of its own
        shown = f"[{host}]" if ":" in host else host
        try:
            await client.connect(f"{_SCHEMES[self._secure]}://{shown}:{port}", **self._options(host))
            self._largest = client.max_payload
            self._learn(client.discovered_servers)
        except Error as error:
            said = str(error).removeprefix("nats: ").strip("'")
            if said.lower().startswith(_REFUSALS):
                raise BackplaneProblem(f"the backplane {self._url.shown} refuses this hub: {said}") from None
            raise ConnectionError(said) from None
        except NotEncrypted:
            raise BackplaneProblem(
                f"the backplane {self._url.shown} does not encrypt; allowed is that it does, or an address with nats://"
            ) from None
        except ImportError as missing:
            raise BackplaneProblem(
                f"the credentials of {self._url.shown} need {missing.name}: pip install 'nats-py[nkeys]'"
            ) from None
        finally:
            await client.close()
        if seam.over:
            raise ConnectionError("it closed the connection")
        seam.hand_over(self._fed)
        self._replies = f"{nats_root(self._url.namespace)}.r.{secrets.token_hex(8)}.".encode()
        self._line_or_error().say(b"SUB %b* 1\r\n" % self._replies)
        self._number = 1
        self._numbers.clear()

    def _fed(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except NotNats as error:
            if self._line is not None:
                self._line.fail(str(error))

    def _options(self, host: str) -> dict[str, Any]:
        options: dict[str, Any] = {
            "allow_reconnect": False,
            "error_cb": _heard_of,
            "name": self._name,
            "no_echo": True,
            "tls_hostname": self._certified(host),
        }
        if self._ca is not None:
            options["tls"] = ssl.create_default_context()
            options["tls"].load_verify_locations(self._ca)
        if self._url.password is not None:
            options |= {"user": self._url.user, "password": self._url.password}
        elif self._url.user is not None:
            options["token"] = self._url.user
        if self._credentials is not None:
            options["user_credentials"] = str(self._credentials)
        if self._nkey is not None:
            options["nkeys_seed"] = str(self._nkey)
        return options

    def _certified(self, host: str) -> str:
        """Return whose certificate a server has to show: servers tell of one another by number, and have no name then."""
        given = [name for name, _ in self._url.servers]
        return given[0] if host not in given and _is_number(host) else host

    def _learn(self, servers: Iterable[ParseResult]) -> None:
        self._discovered = [(one.hostname, one.port) for one in servers if one.hostname and one.port]

    def _line_or_error(self) -> Line:
        if self._line is None or self._line.over:
            raise ConnectionError(self._refusal or "it closed the connection")
        return self._line

    def _subscribe(self, interests: Iterable[str]) -> None:
        line = self._line_or_error()
        for interest in interests:
            self._number += 1
            self._numbers[interest] = self._number
            line.say(f"SUB {interest} {self._number}\r\n".encode())

    def _unsubscribe(self, interest: str) -> None:
        self._line_or_error().say(b"UNSUB %d\r\n" % self._numbers.pop(interest))

    def _interest(self, topic: Topic) -> str:
        return nats_interest(self._url.namespace, topic)

    def _ping(self, answered: Callable[[], None]) -> None:
        self._pongs.append(answered)
        self._line_or_error().say(b"PING\r\n")

    def _forget(self) -> None:
        self._pongs.clear()


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _heard_of(_error: Exception) -> None:
    """It is raised as well."""


class NotEncrypted(Exception):
    """Something was to be said in the open."""


class _Seam(Transport):
    """A connection as the client library takes it, which outlives the library's client."""

    line: Line

    def __init__(
        self, answer: Callable[[], Awaitable[None]], answered: Callable[[], None], *, encrypted_only: bool
    ) -> None:
        self._answer = answer
        self._answered = answered
        self._encrypted = not encrypted_only
        self._buffer = b""
        self._onward: Callable[[bytes], None] | None = None
        self._closed = False

    def take(self, data: bytes) -> None:
        if self._onward is not None:
            self._onward(data)
        else:
            self._buffer += data
            self._answered()

    def hand_over(self, onward: Callable[[bytes], None]) -> None:
        self._onward = onward
        if self._buffer:
            onward(self._buffer)

    @property
    def over(self) -> bool:
        return self.line.over

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """It is connected."""

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,  # noqa: ARG002 - as it is called
        connect_timeout: int,  # noqa: ARG002 - as it is called
    ) -> None:
        await self.line.secure(ssl_context, uri if isinstance(uri, str) else uri.hostname)
        self._encrypted = True

    def write(self, payload: bytes) -> None:
        if not self._encrypted:
            raise NotEncrypted
        self.line.say(payload)

    def writelines(self, payload: list[bytes]) -> None:
        for data in payload:
            self.write(data)

    async def read(self, buffer_size: int) -> bytes:  # noqa: ARG002 - as it is called
        """Nothing: the library's own reading waits here until its client is closed."""
        never: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        return await never

    async def readline(self) -> bytes:
        while b"\n" not in self._buffer:
            await self._answer()
        line, end, self._buffer = self._buffer.partition(b"\n")
        return line + end

    async def drain(self) -> None:
        """It is sent at the end of the turn."""

    async def wait_closed(self) -> None: ...

    def close(self) -> None: ...

    def at_eof(self) -> bool:
        return False

    def __bool__(self) -> bool:
        return True
