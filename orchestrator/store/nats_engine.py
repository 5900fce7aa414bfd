"""The connection to NATS and the stream that everything is kept in: made when it is first needed, and made anew when it is lost."""

from __future__ import annotations

import asyncio
import ssl
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from nats import errors as nats_errors
from nats.aio.client import Client

from orchestrator.errors import StoreUnavailable
from orchestrator.store.errors import StoreUnfit
from orchestrator.store.nats_clock import ServerClock, SetClock
from orchestrator.store.port import Capabilities

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.msg import Msg

    from orchestrator.store.nats_address import NatsAddress
    from orchestrator.store.nats_subjects import Subjects
    from orchestrator.store.shared import Needs

ANSWER: Final = 10.0
"""Seconds that one request waits for its answer, and connecting may take."""
_LATER: Final = 2 * ANSWER
"""Seconds that the client itself may wait: it does not know when a connection was lost."""
_NONE: Final = 10037
"""JetStream's number for 'no message found'."""
_NO_STREAM: Final = 10059
_STREAM_THERE: Final = 10058
_NOT_CLUSTERED: Final = 10074
_CONFIG: Final = {
    "max_msgs_per_subject": 1,
    "storage": "file",
    "retention": "limits",
    "discard": "old",
    "allow_atomic": True,
    "allow_msg_ttl": True,
}
"""What every stream of ours has, and must not have otherwise."""


class Kept(msgspec.Struct, frozen=True):
    """The last message on a subject."""

    subject: str
    seq: int
    data: bytes = b""
    """Empty = what was there is gone."""


class _Got(msgspec.Struct):
    message: Kept | None = None
    error: dict[str, Any] | None = None


class Engine:
    """One process's way to the stream of a namespace."""

    def __init__(self, address: NatsAddress, subjects: Subjects, needs: Needs, clock: ServerClock | SetClock) -> None:
        self.address, self.subjects, self.clock = address, subjects, clock
        self.turns = 0
        """How often the connection was lost or made: what followed the stream before must begin anew."""
        self.capabilities = Capabilities(durable=False, fenced=True, shared=True, strong=False)
        """As known when it was opened last."""
        self._needs = needs
        self._client: Client | None = None
        self._fit = False
        self._opening = asyncio.Lock()
        self._tries: int | None = None
        """How often it may fail to connect before that is told; `None` = it is not about to connect."""
        self._asked: set[asyncio.Timeout] = set()
        self._said = "no connection"
        self._got = msgspec.json.Decoder(_Got)

    # -- the connection

    async def ready(self) -> None:
        """Be connected, have the stream and know the time. Raises `StoreUnavailable`, and `StoreUnfit`."""
        if self._fit and self.clock.is_fresh and self._client is not None and self._client.is_connected:
            return
        async with self._opening:
            client = self._client
            if client is None or client.is_closed:
                await self._connect()
            elif client.is_reconnecting:
                raise self.unavailable(self._said)
            elif not client.is_connected:  # it was greeted in an order that it does not understand
                await client.close()
                await self._connect()
            if not self._fit:
                await self._find_stream()
                self._fit = True
            elif not self.clock.is_fresh:
                await self._stream_info()

    async def _connect(self) -> None:
        self._client = None
        self._fit = False
        client = Client()
        try:
            async with asyncio.timeout(ANSWER):
                self._said, self._tries = "", 3 * len(self.address.servers)
                await client.connect(
                    servers=[f"nats://{server}" for server in self.address.servers],
                    name="orchestrator store",
                    error_cb=self._failed,
                    disconnected_cb=self._turned,
                    reconnected_cb=self._turned,
                    connect_timeout=2,
                    reconnect_time_wait=0.1,  # type: ignore[arg-type]  # any number of seconds does
                    max_reconnect_attempts=-1,
                    ping_interval=2,
                    max_outstanding_pings=2,
                    tls=self._tls(),
                    **self.address.login(),
                )
        except (TimeoutError, OSError, nats_errors.Error) as error:
            said = self._said or _words(error)
            await self._discard(client)
            raise self.unavailable(said) from None
        except BaseException:
            await self._discard(client)
            raise
        self._tries = None
        self._client = client
        self.turns += 1

    async def _discard(self, client: Client) -> None:
        self._tries = None
        await client.close()

    def _tls(self) -> ssl.SSLContext | None:
        return None if self.address.ca is None else ssl.create_default_context(cafile=self.address.ca)

    async def _failed(self, error: Exception) -> None:
        if not self._said or not isinstance(error, OSError):  # what a server says tells more than that it hung up
            self._said = _words(error)
        if self._tries is not None:
            self._tries -= 1
            if self._tries <= 0:
                raise error  # or the client would go on for ever

    async def _turned(self) -> None:
        self.turns += 1
        self._said = "the connection was lost"
        self.clock.forget()
        for asked in self._asked:
            asked.reschedule(0)  # no answer comes over a connection that is lost

    async def close(self) -> None:
        client, self._client = self._client, None
        self._fit = False
        if client is not None:
            await client.close()

    @property
    def client(self) -> Client:
        """The connection, as it is after `ready`. Raises `StoreUnavailable` when it is lost."""
        if self._client is None or not self._client.is_connected:
            raise self.unavailable(self._said)
        return self._client

    def unavailable(self, why: str) -> StoreUnavailable:
        return StoreUnavailable(f"the store {self.address.shown} gave no answer: {why}")

    # -- asking

    async def ask(self, subject: str, data: bytes = b"", headers: Mapping[str, str] | None = None) -> Msg:
        """Ask what has an answer. Raises `StoreUnavailable`: it was done or not."""
        client, turn = self.client, self.turns
        try:
            async with asyncio.timeout(ANSWER) as asked:
                self._asked.add(asked)
                try:
                    return await client.request(subject, data, _LATER, headers=dict(headers) if headers else None)
                finally:
                    self._asked.discard(asked)
        except nats_errors.NoRespondersError:
            raise self.unavailable(
                "none of its servers leads the stream now, or keeps any; are they started with JetStream?"
            ) from None
        except TimeoutError:
            why = f"not within {ANSWER:.0f} s" if turn == self.turns else "the connection was lost"
            raise self.unavailable(why) from None
        except nats_errors.Error as error:
            raise self.unavailable(_words(error)) from None

    async def send(self, subject: str, data: bytes, headers: Mapping[str, str]) -> None:
        try:
            await self.client.publish(subject, data, headers=dict(headers))
        except nats_errors.Error as error:
            raise self.unavailable(_words(error)) from None

    async def api(self, name: str, asked: Mapping[str, object] | None = None) -> dict[str, Any]:
        message = await self.ask(f"$JS.API.{name}", b"" if asked is None else msgspec.json.encode(asked))
        answer: dict[str, Any] = msgspec.json.decode(message.data)
        return answer

    async def last(self, subject: str) -> Kept | None:
        """Return the last message on a subject, or on any that a pattern matches, as the leader has it; `None` = none.

        A leader that is cut off may not have heard yet that it is none any more. Whoever acts on the answer writes on
        the condition that it still holds, which only the true leader can confirm.
        """
        question = msgspec.json.encode({"last_by_subj": subject})
        message = await self.ask(f"$JS.API.STREAM.MSG.GET.{self.subjects.stream}", question)
        got = self._got.decode(message.data)
        if got.message is not None:
            return got.message
        error = got.error or {}
        if error.get("err_code") == _NONE:
            return None
        raise self.unavailable(_description(error))

    # -- the stream

    async def _stream_info(self) -> dict[str, Any]:
        asked = self.clock.steady()
        answer = await self.api(f"STREAM.INFO.{self.subjects.stream}")
        heard = self.clock.steady()
        if "error" not in answer:
            self.clock.learn(asked, heard, datetime.fromisoformat(answer["ts"]).timestamp())
        return answer

    async def _find_stream(self) -> None:
        answer = await self._stream_info()
        if answer.get("error", {}).get("err_code") == _NO_STREAM:
            await self._make_stream()
            answer = await self._stream_info()
        if "error" in answer:
            raise self.unavailable(_description(answer["error"]))
        config = answer["config"]
        wrong = [name for name, value in _CONFIG.items() if config.get(name) != value]
        if "allow_atomic" in wrong:
            raise StoreUnfit(
                self.address.shown,
                "has servers before NATS 2.12, which cannot store several things at once; use later ones",
            )
        if wrong or config.get("subjects") != [self.subjects.everything]:
            raise StoreUnfit(
                self.address.shown,
                f"has a stream {self.subjects.stream!r} that is not as this package makes it "
                f"({', '.join(wrong) or 'subjects'}); give this topology another name, or remove the stream",
            )
        self._check(int(config["num_replicas"]))

    async def _make_stream(self) -> None:
        replicas = self.address.replicas or 3
        error = await self._make(replicas)
        if error.get("err_code") == _NOT_CLUSTERED and self.address.replicas is None:
            replicas = 1
            self._check(replicas)
            error = await self._make(replicas)
        if error and error.get("err_code") != _STREAM_THERE:
            raise self.unavailable(f"it could not make a stream that is kept {replicas} times ({_description(error)})")

    async def _make(self, replicas: int) -> dict[str, Any]:
        asked = {
            **_CONFIG,
            "name": self.subjects.stream,
            "subjects": [self.subjects.everything],
            "num_replicas": replicas,
        }
        answer = await self.api(f"STREAM.CREATE.{self.subjects.stream}", asked)
        error: dict[str, Any] = answer.get("error", {})
        return error

    def _check(self, replicas: int) -> None:
        """Raises `StoreUnfit` when so many copies cannot keep what is needed."""
        keeps = replicas >= 3 or self.address.synced
        self.capabilities = Capabilities(durable=keeps, fenced=True, shared=True, strong=keeps)
        needs = self._needs
        if keeps or not (needs.durable or (needs.strong and not needs.allow_unsafe_claims)):
            return
        what = "at-least-once tasks" if needs.durable else "strong claims"
        raise StoreUnfit(
            self.address.shown,
            f"may lose what it has acknowledged when a machine loses power, so it is not for {what}: NATS writes to the "
            "disk every two minutes unless it is told otherwise. Set 'sync_interval: always' in the section 'jetstream' of "
            "each server's configuration and say so with '?sync=always' at the end of the store's address, which no client "
            "can find out by itself; or run a cluster of three servers, so that each message is kept three times",
        )


def _words(error: BaseException) -> str:
    """What a client says of a failure: never where it connected to as whom."""
    text = str(error).strip().removeprefix("nats: ").strip("'\"")
    return text or type(error).__name__


def _description(error: Mapping[str, Any]) -> str:
    return str(error.get("description", "an error without a description"))
