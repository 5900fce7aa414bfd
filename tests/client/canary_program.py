"""A program that logs all it can, and takes a client through every way of failing, each time with a canary for a token.

It prints how each way ended, and everything that could be printed on the way. Its arguments are a file to which it
writes the credentials that it used, none of which may be seen anywhere else, and the kind of its event loop.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import itertools
import json
import logging
import pickle
import random
import socket
import sys
import time
import traceback
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import uvloop

from orchestrator import connect
from orchestrator.client.connection import Client
from orchestrator.client.effects import Timeouts
from orchestrator.client.events import Disconnected, TokenFailed
from orchestrator.client.policy import ReconnectPolicy
from orchestrator.hub.keys import KeyRing
from orchestrator.hub.server import Server
from orchestrator.hub.settings import Settings
from orchestrator.protocol.tokens import Claims, SecretKey, mint
from tests.client.scripted import SAFETY, ScriptedHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.client.scripted import Caller

SOON = ReconnectPolicy(initial=0.01, per_minute=None)
FEW = ReconnectPolicy(initial=0.01, max_attempts=3)
BRIEF = Timeouts(token=0.2, welcome=0.2, ack=0.2, close=0.2)
KEY = SecretKey("sk_id_canary", "sk_secret_" + "canarykey" * 5)
STRANGER = SecretKey("sk_id_canary", "sk_secret_" + "canaryelse" * 5)
_numbers = itertools.count()
_used: list[str] = []


def opaque() -> str:
    """Return a credential that no pattern knows, from a service that is not ours."""
    _used.append(f"canary{next(_numbers)}{random.getrandbits(64):x}")
    return _used[-1]


def minted(key: SecretKey = KEY, life: float = 600, **claims: Any) -> str:
    _used.append(mint(key, Claims(f"peer{next(_numbers)}", int(time.time() + life), **claims)))
    return _used[-1]


def provider(make: Callable[[], Any] = opaque) -> Callable[[], Awaitable[str]]:
    async def fresh() -> str:
        made: str = make()
        return made

    return fresh


def failing(after: int = 0) -> Callable[[], Awaitable[str]]:
    """Return a provider that raises with its token in what it says, from a certain call on."""
    calls = itertools.count()

    async def fresh() -> str:
        if next(calls) >= after:
            raise RuntimeError(f"cannot use {opaque()}") from ValueError(opaque())
        return opaque()

    return fresh


# -- looking


def look(thing: object, seen: set[int] | None = None) -> None:
    """Print whatever an object of ours is made of."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    print(repr(thing), str(thing))
    inner: list[object] = []
    if isinstance(thing, dict):
        inner += [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set) or type(thing).__name__ == "deque":
        inner += list(thing)  # type: ignore[call-overload]
    elif type(thing).__module__.startswith("orchestrator"):
        inner += vars(thing).values() if hasattr(thing, "__dict__") else []
        for kind in type(thing).__mro__:
            inner += [getattr(thing, name, None) for name in getattr(kind, "__slots__", ())]
    for part in inner:
        look(part, seen)


def show(error: BaseException) -> None:
    """Print an error as those do who print more than others."""
    print(repr(error), str(error), error.args)
    with suppress(TypeError, AttributeError):
        print(repr(pickle.dumps(error)))
    print("".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))
    logging.getLogger("canary").error("it failed", exc_info=error)


async def outcome(work: Awaitable[object]) -> str:
    try:
        async with asyncio.timeout(4 * SAFETY):
            await work
    except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
        show(error)
        return type(error).__name__
    return "done"


def inspect(client: Client) -> None:
    look(client)
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with suppress(TypeError):
            print(repr(copied(client)))
    for task in asyncio.all_tasks():
        print(repr(task))
        task.print_stack(file=sys.stdout)


@asynccontextmanager
async def used(*given: Any, **options: Any) -> AsyncIterator[Client]:
    client = Client(*given, **options)
    inspect(client)
    try:
        yield client
    finally:
        inspect(client)
        await client.close()
        inspect(client)


async def until(client: Client, kind: type[Any], count: int = 1) -> Any:
    async for event in client.events():
        look(event)
        if isinstance(event, kind):
            count -= 1
            if not count:
                return event
    raise AssertionError(f"no {kind.__name__} came")


# -- ways of failing


@asynccontextmanager
async def answering(answer: Callable[[bytes], bytes]) -> AsyncIterator[str]:
    """Serve one answer, made of the head of the request, to whoever comes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def http(answer: Callable[[bytes], bytes]) -> str:
    async with answering(answer) as url:
        async with used(url, token_provider=provider(), daemon=True, reconnect=FEW, timeouts=BRIEF) as client:
            return await outcome(client.connect())


def target(head: bytes) -> bytes:
    return head.split(b" ")[1]


ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "itself": lambda head: head,
    "refusal": lambda head: b"HTTP/1.1 401 no " + target(head) + b"\r\nX-Was: " + target(head) + b"\r\n\r\n" + head,
    "redirect": lambda head: b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1" + target(head) + b"\r\n\r\n",
    "no status": lambda head: b"HTTP/1.1 " + target(head) + b" x\r\n\r\n",
    "no header": lambda head: b"HTTP/1.1 101 Switching Protocols\r\n" + target(head) + b"\r\n\r\n",
    "no accept": lambda head: (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + target(head) + b"\r\n\r\n"
    ),
    "extension": lambda head: (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: " + target(head) + b"\r\nSec-WebSocket-Extensions: x\r\n\r\n"
    ),
    "nothing": lambda _: b"",
}


async def nobody() -> str:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{holder.getsockname()[1]}"
        async with used(url, token=opaque(), daemon=True, reconnect=FEW) as client:
            return await outcome(client.connect())


async def no_tls() -> str:
    async with answering(lambda head: head) as url:
        async with used(url.replace("ws:", "wss:"), token_provider=provider(), timeouts=BRIEF) as client:
            return await outcome(client.connect())


async def junk_for_tls() -> str:
    """An error that nobody foresaw, in the task that connects."""
    async with answering(lambda head: head) as url:
        options: dict[str, Any] = {"tls": "junk", "timeouts": BRIEF}
        async with used(url.replace("ws:", "wss:"), token_provider=provider(), **options) as client:
            return await outcome(client.connect())


async def junk_from_provider() -> str:
    made = []
    for junk in (
        lambda: f"{opaque()} {opaque()}",
        lambda: opaque().encode(),
        lambda: [opaque()],
        lambda: f"{opaque()}é",
    ):
        async with used("ws://localhost:1", token_provider=provider(junk)) as client:
            made.append(await outcome(client.connect()))
    return " ".join(made)


def constructed() -> str:
    """Mistakes in what a client is given."""
    wrong: list[Callable[[], object]] = [
        lambda: Client(f"ws://localhost:1/?token={opaque()}", api_key=opaque()),
        lambda: Client(f"ws://user:{opaque()}@localhost:1", token=opaque()),
        lambda: Client("ws://localhost:1", api_key=opaque(), token=opaque()),
        lambda: Client("ws://localhost:1", token=f"{opaque()} "),
        lambda: Client("ws://localhost:1", api_key=f"{opaque()}\n"),
        lambda: Client("ws://example.org", token=opaque()),
    ]
    made = []
    for mistake in wrong:
        try:
            mistake()
        except ValueError as error:
            print(repr(error))
            logging.getLogger("canary").error("it failed", exc_info=error)
            made.append(type(error).__name__)
    return " ".join(made)


async def raising() -> str:
    async with used("ws://localhost:1", token_provider=failing(), daemon=True, reconnect=FEW) as client:
        return await outcome(client.connect())


async def hanging() -> str:
    async def fresh() -> str:
        held = opaque()
        await asyncio.Event().wait()
        return held

    async with used("ws://localhost:1", token_provider=fresh, timeouts=BRIEF) as client:
        return await outcome(client.connect())


def shown(caller: Caller) -> str:
    """What the client has shown to the hub, as a hub that knows no better may say it again."""
    return caller.target.partition("?")[2]


async def scripted(say: Callable[[Caller], Awaitable[object]], *, welcomed: bool = True, **options: Any) -> str:
    """Take what a hub does to the first connection."""
    async with ScriptedHub() as hub:
        options = {"reconnect": SOON, "timeouts": BRIEF, "token_provider": provider(), **options}
        async with used(hub.url, **options) as client:
            connecting = asyncio.create_task(outcome(client.connect()))
            caller = await hub.caller()
            if not welcomed:
                await say(caller)
                return await connecting
            await caller.welcome()
            ended = await connecting
            await say(caller)
            gone = await until(client, Disconnected)
            return f"{ended} {gone.will_reconnect}"


async def closed_with(code: int, *, welcomed: bool) -> str:
    async def say(caller: Caller) -> None:
        await caller.socket.close(code, f"no: {shown(caller)}"[:120])

    return await scripted(say, welcomed=welcomed)


async def talked_at() -> str:
    """Errors that repeat what the client has shown, and requests that they answer."""
    async with ScriptedHub() as hub:
        async with used(hub.url, token_provider=provider(), reconnect=SOON, timeouts=BRIEF) as client:
            caller, _ = await asyncio.gather(hub.welcomed(), client.connect())
            ended = []
            for work in (client.publish("x", 1), client.send("b", 1), client.subscribe("x"), client.unsubscribe("x")):
                answering = asyncio.create_task(outcome(work))
                asked = await caller.hear()
                said = f"no: {shown(caller)}"
                await caller.say("error", code="internal_error", message=said)
                await caller.say("error", requestId=asked["requestId"], code="action_not_permitted", message=said)
                ended.append(await answering)
            unanswered = asyncio.create_task(outcome(client.publish("x", 1)))
            ended.append(await unanswered)
            cut = asyncio.create_task(outcome(client.publish("x", 1)))
            await caller.hear("publish")
            await caller.hear("publish")
            caller.cut()
            ended.append(await cut)
            ended.append(await outcome(client.publish("x", 1)))
            waiting = client.publish("x", 1, when_disconnected="wait", deadline=0.05)
            ended.append(await outcome(waiting))
            return " ".join(ended)


async def silent() -> str:
    return await scripted(lambda _: asyncio.sleep(0), timeouts=Timeouts(inactivity=0.2))


async def flooded() -> str:
    async def say(caller: Caller) -> None:
        for _ in range(30):
            await caller.say("message", channel="x", data=1, **{"from": "b"})
        await caller.closed()

    return await scripted(say, inbox=10)


async def broken_frames() -> str:
    async def say(caller: Caller) -> None:
        await caller.socket.send(shown(caller).encode() + b"\xff", text=True)
        await caller.socket.wait_closed()

    return await scripted(say)


async def cancelled() -> str:
    async with ScriptedHub() as hub:
        client = Client(hub.url, token_provider=provider())
        connecting = asyncio.create_task(client.connect())
        await hub.caller()
        connecting.cancel()
        with suppress(asyncio.CancelledError):
            await connecting
        inspect(client)
        return client.state.value


async def forgotten() -> str:
    """Dropped without `close`: what Python says of sockets and tasks that nobody ends."""
    async with ScriptedHub() as hub:
        client = Client(hub.url, token_provider=provider(), reconnect=SOON)
        caller, _ = await asyncio.gather(hub.welcomed(), client.connect())
        caller.cut()
        await hub.welcomed()
        del client
        gc.collect()
    return "done"


async def renewed(
    welcome: dict[str, Any], fresh: Callable[[], Awaitable[str]], told: type[Any] | None, refusals: int = 0
) -> str:
    """Wait until the program has been told something, or until as many successors of its connection were refused."""
    async with ScriptedHub() as hub:
        async with used(hub.url, token_provider=fresh, reconnect=SOON) as client:
            caller, _ = await asyncio.gather(hub.welcomed(serverTime=1, **welcome), client.connect())
            for _ in range(refusals):
                later = await hub.caller()
                inspect(client)
                await later.socket.close(1008, shown(later))
            if told is not None:
                await until(client, told)
            state = client.state.value
            caller.cut()
            return state


async def at_our_hub() -> str:
    """Refusals, a renewal, a takeover and an end, at the hub of this package."""
    server = Server(KeyRing([KEY]), Settings(drain_window=0.0, drain_grace=0.2))
    await server.start(socket.create_server(("127.0.0.1", 0)))
    ended = []
    try:
        for make in (lambda: minted(STRANGER), lambda: minted(life=-60), lambda: minted() + "x"):
            async with used(server.url, token_provider=provider(make)) as client:
                ended.append(await outcome(client.connect()))
        async with used(server.url, token_provider=provider(lambda: minted(life=5, instance="i"))) as client:
            ended.append(await outcome(client.connect()))
            ended.append(await outcome(client.subscribe("x")))
            await server.drain()
            ended.append(await outcome(until(client, Disconnected)))
    finally:
        await server.drain()
    return " ".join(ended)


async def as_user() -> str:
    ended = []
    callers: asyncio.Queue[Caller] = asyncio.Queue()
    async with ScriptedHub() as hub:

        async def use(**options: Any) -> None:
            async with connect(hub.url, **options) as user:
                look(user)
                async with user.events() as events:
                    (await callers.get()).cut()
                    async for event in events:
                        look(event)
                await user.publish("x", 1)

        using = asyncio.create_task(outcome(use(token_provider=provider(), reconnect=SOON)))
        callers.put_nowait(await hub.welcomed())
        caller = await hub.caller()
        await caller.socket.close(4001, shown(caller))
        ended.append(await using)
        using = asyncio.create_task(outcome(use(token_provider=provider())))
        caller = await hub.caller()
        await caller.socket.close(4003, shown(caller))
        ended.append(await using)
    return " ".join(ended)


CODES = (1000, 1008, 4001, 4002, 4003, 4010, 4012, 4020)


async def every_way() -> AsyncIterator[tuple[str, str]]:
    yield "constructed", constructed()
    for name, answer in ANSWERS.items():
        yield f"http {name}", await http(answer)
    yield "nobody", await nobody()
    yield "no tls", await no_tls()
    yield "junk for tls", await junk_for_tls()
    yield "junk from the provider", await junk_from_provider()
    yield "raising", await raising()
    yield "hanging", await hanging()
    for code in CODES:
        yield f"closed {code} at once", await closed_with(code, welcomed=False)
        yield f"closed {code} later", await closed_with(code, welcomed=True)
    yield "no welcome", await scripted(lambda caller: caller.socket.wait_closed(), welcomed=False)
    yield "talked at", await talked_at()
    yield "silent", await silent()
    yield "flooded", await flooded()
    yield "broken frames", await broken_frames()
    yield "cancelled", await cancelled()
    yield "forgotten", await forgotten()
    yield "as a user", await as_user()
    slow = await asyncio.gather(
        renewed({"expiresAt": 9, "instance": "i"}, failing(after=1), TokenFailed),
        renewed({"expiresAt": 5, "instance": "i"}, provider(), None, refusals=2),
        renewed({"expiresAt": 4}, provider(), Disconnected),
        at_our_hub(),
    )
    for name, ended in zip(
        ("renewal without a token", "renewal refused", "no renewal", "at our hub"), slow, strict=True
    ):
        yield name, ended


async def main() -> None:
    """Say when each way has ended."""
    logging.getLogger("asyncio").debug("and now the client")
    async for name, ended in every_way():
        print("\nENDED", json.dumps([name, ended]), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("websockets.server").setLevel(logging.WARNING)  # the far end, which may see the credential
    logging.captureWarnings(True)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    with asyncio.Runner(debug=True, loop_factory=uvloop.new_event_loop if sys.argv[2] == "uvloop" else None) as runner:
        runner.run(main())
    gc.collect()
    kept = Path(sys.argv[1])
    kept.touch(0o600)
    kept.write_text("\n".join(_used))
