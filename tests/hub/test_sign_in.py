"""``POST /session``: who is signed in at a hub's port, and who is not (hazards 44 and 45)."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from orchestrator.hub import local_user
from orchestrator.hub.keys import KeyRing, PublishableKey
from orchestrator.hub.listening import listen, parse_address
from orchestrator.hub.server import Server
from orchestrator.hub.settings import Settings
from orchestrator.hub.sign_in import MAX_AT_ONCE, MAX_BODY, MAX_FAILED_CODES, Denied, Granted, Unanswered, Wish
from tests.canary import CANARY
from tests.hub.rest_client import Api, Reply
from tests.hub.sockets import KEY, on_both_loops, raw, upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

pytestmark = pytest.mark.one_hub("who signs in is a matter of one hub and its run")
EVIL: Final = "https://evil.example"
GRANTED: Final = Granted("a-token", 1_790_003_600, "cli/dashboard-1")


class Table:
    """An entrance that lets in whoever is local, or has the one code or token that is good."""

    def __init__(self) -> None:
        self.wishes: list[Wish] = []
        self.open = asyncio.Event()
        self.open.set()
        self.there = True

    async def sign_in(self, wish: Wish) -> Granted | Denied:
        self.wishes.append(wish)
        await self.open.wait()
        if not self.there:
            raise Unanswered
        good = wish.local or wish.code == "good" or wish.token == "good"
        return GRANTED if good else Denied("that is not good any more")


class Page(Api):
    """Somebody who signs in."""

    def __init__(self, hub: Server, session: aiohttp.ClientSession, table: Table) -> None:
        super().__init__(hub, session)
        self.table = table

    @property
    def local(self) -> str:
        return f"localhost:{self.hub.http_url.rpartition(':')[2]}"

    async def sign_in(self, body: Any = None, token: str | None = None, **headers: str) -> Reply:
        """Ask as a page of the hub itself does, but for what `headers` say instead; an empty one is left out."""
        sent = {"Content-Type": "application/json", "Host": self.local}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        return await self.ask("POST", "/session", {} if body is None else body, None, sent)


@asynccontextmanager
async def page(entrance: bool = True, keys: KeyRing | None = None) -> AsyncIterator[Page]:
    from aiohttp import ClientSession

    server = Server(keys or KeyRing([KEY]), Settings(drain_grace=0.2))
    await server.start(listen(parse_address("127.0.0.1:0")))
    table = Table()
    server.entrance = table if entrance else None
    try:
        async with ClientSession(auto_decompress=False) as session:
            yield Page(server, session, table)
    finally:
        await server.cut()


def refusals(hub: Server) -> dict[str, int]:
    return dict(hub.hub.turn.traffic.refusals)


@on_both_loops
async def test_whoever_is_local_is_signed_in_without_more() -> None:
    async with page() as asked:
        reply = await asked.sign_in()
        assert reply.status == 200
        assert reply.body == {"token": "a-token", "expiresAt": 1_790_003_600, "peerId": "cli/dashboard-1"}
        assert asked.table.wishes == [Wish(local=True)]
        assert reply.headers["Cache-Control"] == "no-store"
        assert not {"Set-Cookie", "Access-Control-Allow-Origin"} & set(reply.headers)


@on_both_loops
async def test_a_code_and_a_token_go_to_the_run_whoever_brings_them() -> None:
    async with page() as asked:
        for host in (asked.local, "hub.example"):
            assert (await asked.sign_in({"code": "good"}, Host=host)).status == 200
            assert (await asked.sign_in(token="good", Host=host)).status == 200
            assert (await asked.sign_in({"code": "bad"}, Host=host)).error == (401, "unauthorized")
            assert (await asked.sign_in(token="bad", Host=host)).error == (401, "unauthorized")
        assert {wish.local for wish in asked.table.wishes} == {False}
        assert refusals(asked.hub) == {"code": 2, "session": 2}


@on_both_loops
async def test_whoever_may_be_asked_from_elsewhere_is_not_local() -> None:
    async with page() as asked:
        port = asked.local.rpartition(":")[2]
        for headers in (
            {"Host": "evil.example"},
            {"Host": f"evil.example:{port}"},
            {"Host": f"localhost.evil.example:{port}"},
            {"Host": f"127.0.0.2:{port}"},
            {"Forwarded": "for=10.0.0.1"},
            {"X-Forwarded-For": "127.0.0.1"},
            {"X_Forwarded_Host": "localhost"},
            {"Via": "1.1 proxy"},
        ):
            reply = await asked.sign_in(**headers)
            assert reply.error == (403, "action_not_permitted"), headers
            assert "orchestrator token" in reply.body["message"]
        assert asked.table.wishes == []


async def test_a_process_of_another_user_is_not_local(monkeypatch: pytest.MonkeyPatch) -> None:
    if not local_user.TABLES[0].exists():
        pytest.skip("this system does not tell whose a connection is")
    async with page() as asked:
        port = int(asked.local.rpartition(":")[2])
        user = os.geteuid()
        if user == 0:  # who is root makes the socket as somebody else; others let the hub be somebody else's
            os.seteuid(65_534)
        client = socket.socket()
        if user == 0:
            os.seteuid(0)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: user + 1)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=client)
        head = f"POST /session HTTP/1.1\r\nHost: {asked.local}\r\nContent-Type: application/json\r\nContent-Length: 2"
        writer.write(f"{head}\r\n\r\n{{}}".encode())
        assert (await reader.readline()).split()[1] == b"403"
        assert asked.table.wishes == []
        writer.transport.abort()


@on_both_loops
async def test_a_hub_without_a_run_signs_nobody_in() -> None:
    async with page(entrance=False) as asked:
        for body, token in (({}, None), ({"code": "good"}, None), ({}, "good")):
            reply = await asked.sign_in(body, token)
            assert reply.error == (403, "action_not_permitted")
            assert "paste a token" in reply.body["message"]


@on_both_loops
async def test_what_is_no_wish_to_sign_in_is_refused_with_what_it_should_be() -> None:
    async with page() as asked:
        for body in (
            b"",
            b"nonsense",
            b"[]",
            b'{"code": 7}',
            b'{"kode": "x"}',
            b'{"code": null}',
            b"\xff",
            b"[" * 4_000,
        ):
            assert (await asked.sign_in(body)).error == (400, "invalid_request"), body
        assert (await asked.sign_in({"code": "x" * 129})).error == (400, "invalid_request")
        assert (await asked.sign_in({"code": "good"}, token="good")).error == (400, "invalid_request")
        assert (await asked.sign_in(b"{}" + b" " * MAX_BODY)).error == (413, "invalid_request")
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""):
            assert (await asked.sign_in(Content_Type=kind)).error == (415, "invalid_request")
        for given in ("", "Bearer", "Bearer ", "Basic good", "good", f"Bearer {'x' * 25_000}"):
            assert (await asked.sign_in(Authorization=given)).error == (401, "unauthorized")
        for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH"):
            assert (await asked.ask(method, "/session", key=None)).error == (404, "not_found")
        assert asked.table.wishes == []


@on_both_loops
async def test_codes_are_not_guessed_and_who_guesses_keeps_nobody_from_signing_in_otherwise() -> None:
    async with page() as asked:
        for number in range(MAX_FAILED_CODES):
            assert (await asked.sign_in({"code": f"guess {number}"})).status == 401
        reply = await asked.sign_in({"code": "good"})
        assert reply.error == (429, "too_many_requests")
        assert reply.headers["Retry-After"] == "60"
        assert (await asked.sign_in()).status == 200
        assert (await asked.sign_in(token="good")).status == 200
        assert len(asked.table.wishes) == MAX_FAILED_CODES + 2


@on_both_loops
async def test_so_many_wait_for_the_run_and_no_more() -> None:
    async with page() as asked:
        asked.table.open.clear()
        waiting = [asyncio.create_task(asked.sign_in()) for _ in range(MAX_AT_ONCE)]
        while len(asked.table.wishes) < MAX_AT_ONCE:  # each has a turn of its own in a thread
            await asked.ask("GET", "/healthz", key=None)
        assert (await asked.sign_in()).error == (429, "too_many_requests")
        asked.table.open.set()
        assert {reply.status for reply in await asyncio.gather(*waiting)} == {200}
        assert (await asked.sign_in()).status == 200


@on_both_loops
async def test_a_run_that_does_not_answer_is_nobodys_refusal() -> None:
    async with page() as asked:
        asked.table.there = False
        for body in ({}, {"code": "good"}):
            assert (await asked.sign_in(body)).error == (503, "unavailable")
        assert refusals(asked.hub) == {}


# -- hazard 44


ORIGINS = (EVIL, "null", "http://127.0.0.1:1", "http://localhost", "https://{host}", "http://{host}.evil.example", "")
ROUTES = (
    ("GET", "/"),
    ("GET", "/page/main.js"),
    ("GET", "/page/none.js"),
    ("POST", "/session"),
    ("OPTIONS", "/session"),
    ("GET", "/metrics"),
    ("OPTIONS", "/metrics"),
    ("GET", "/v1/usage"),
    ("POST", "/v1/tokens"),
    ("GET", "/v1/channels/x/peers"),
    ("DELETE", "/v1/peers/x"),
    ("OPTIONS", "/v1/tokens"),
    ("GET", "/healthz"),
    ("GET", "/nothing"),
)
LOOSE = "https://{host}"
"""The scheme alone is another one: a proxy may have taken the TLS off."""


@on_both_loops
async def test_hazard_44_whatever_a_page_of_another_origin_asks_for_it_gets_no_answer() -> None:
    async with page() as asked:
        for host in (asked.local, asked.local.replace("localhost", "127.0.0.1"), "hub.example"):
            for method, path in ROUTES:
                for pattern in ORIGINS:
                    headers = {"Host": host, "Origin": pattern.format(host=host), "Content-Type": "application/json"}
                    key = KEY if path.startswith("/v1") else None
                    body: dict[str, str] | None = {} if method == "POST" else None
                    reply = await asked.ask(method, path, body, key, headers)
                    shown = (method, path, headers)
                    if pattern != LOOSE or path in ("/session", "/metrics"):
                        assert reply.status in ((403, 404) if method == "OPTIONS" else (403,)), shown
                        assert set(reply.body) == {"error", "message"}, shown
                    assert not [name for name in reply.headers if name.lower().startswith("access-control")], shown
                    assert "Set-Cookie" not in reply.headers, shown
        assert asked.table.wishes == []


@on_both_loops
async def test_hazard_44_a_page_whose_name_was_led_to_this_machine_gets_nothing_worth_having() -> None:
    async with page() as asked:
        for host in ("rebound.example", f"rebound.example:{asked.local.rpartition(':')[2]}"):
            own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
            assert (await asked.sign_in(**own)).error == (403, "action_not_permitted")
            assert (await asked.ask("GET", "/metrics", None, None, own)).error == (401, "unauthorized")
            assert (await asked.ask("GET", "/v1/usage", None, None, own)).error == (401, "unauthorized")
        assert asked.table.wishes == []


@on_both_loops
async def test_hazard_44_what_a_browser_says_of_another_site_is_believed() -> None:
    async with page() as asked:
        for site in ("cross-site", "same-site", "", "nonsense"):
            assert (await asked.sign_in(Sec_Fetch_Site=site)).error == (403, "action_not_permitted")
            headers = {"Sec-Fetch-Site": site, "Host": asked.local}
            assert (await asked.ask("GET", "/metrics", key=None, headers=headers)).status == 403
        assert asked.table.wishes == []
        for site in ("same-origin", "none"):
            assert (await asked.sign_in(Sec_Fetch_Site=site, Origin=f"http://{asked.local}")).status == 200


@on_both_loops
async def test_hazard_44_a_cookie_changes_no_answer() -> None:
    async with page() as asked:
        cookie = f"code=good; token=good; session=good; Authorization=Bearer {KEY.id}:{KEY.secret}"
        for method, path in ROUTES:
            if method == "OPTIONS":
                continue
            replies = []
            for more in ({}, {"Cookie": cookie}):
                headers = {"Host": "hub.example", "Content-Type": "application/json", **more}
                body = {"code": "bad"} if path == "/session" else None
                replies.append(await asked.ask(method, path, body, None, headers))
            assert (replies[0].status, replies[0].raw) == (replies[1].status, replies[1].raw), path
            assert "Set-Cookie" not in replies[1].headers
        assert {wish.code for wish in asked.table.wishes} == {"bad"}


@on_both_loops
async def test_hazard_44_pages_of_other_origins_connect_by_a_credential_of_theirs_alone() -> None:
    keys = KeyRing([KEY], [PublishableKey("pk_live_" + "o" * 24, origins=("https://shop.example",))])
    async with page(keys=keys) as asked:
        query = f"/v1?key=pk_live_{'o' * 24}"
        for origin, admitted in (
            ("https://shop.example", True),
            (EVIL, False),
            ("http://shop.example", False),
            ("null", False),
            (None, False),
        ):
            async with raw(asked.hub.url) as connection:
                connection.send(upgrade(query, *([] if origin is None else [f"Origin: {origin}"]), "Cookie: token=x"))
                assert (await connection.head())[0] == 101
                if admitted:
                    assert (await connection.message())["type"] == "welcome"
                else:
                    assert await connection.close_code() == 4001
        assert refusals(asked.hub) == {"origin": 4}


# -- hazard 45


async def test_hazard_45_no_answer_and_no_log_line_holds_a_code_or_a_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = f"eyJcanaryheader.eyJ{CANARY}claims.{CANARY * 2}"
    replies = []
    async with page() as asked, raw(asked.hub.url) as cut:
        for there in (True, False):
            asked.table.there = there
            for host in (asked.local, "hub.example"):
                replies += [
                    await asked.sign_in({"code": CANARY}, Host=host),
                    await asked.sign_in(token=token, Host=host),
                    await asked.sign_in({"code": CANARY, "more": token}, Host=host),
                    await asked.sign_in({"code": CANARY * 10}, Host=host),
                    await asked.sign_in({"code": CANARY}, token=token, Host=host),
                    await asked.sign_in(CANARY.encode(), Host=host),
                    await asked.sign_in({CANARY: token}, Host=host),
                    await asked.sign_in({"code": [CANARY]}, Host=host),
                    await asked.sign_in({"code": CANARY}, Host=host, Origin=f"https://{CANARY}"),
                    await asked.sign_in({"code": CANARY}, Host=host, Content_Type=CANARY),
                    await asked.sign_in({"code": CANARY}, Host=host, Cookie=f"code={CANARY}"),
                    await asked.ask("GET", f"/session?code={CANARY}", key=None),
                    await asked.ask("POST", f"/session/{CANARY}", {"code": CANARY}, None),
                    await asked.ask("GET", f"/metrics?token={token}", key=None),
                    await asked.ask("GET", "/metrics", None, None, {"Authorization": f"Bearer {token}", "Host": "x"}),
                    await asked.ask("GET", f"/{CANARY}", key=None),
                    await asked.ask("GET", f"/page/{CANARY}", key=None),
                ]
        asked.table.there = True
        for number in range(MAX_FAILED_CODES + 1):
            replies.append(await asked.sign_in({"code": f"{CANARY}{number}"}))

        async def fails(wish: Wish) -> Granted | Denied:
            raise ValueError("a mistake of ours")

        asked.table.sign_in = fails  # type: ignore[method-assign]
        replies.append(await asked.sign_in(token=token))
        body = json.dumps({"code": CANARY})
        cut.send(f"POST /session HTTP/1.1\r\nHost: {asked.local}\r\nAuthorization {token}\r\n\r\n{body}".encode())
        answered = await cut.reader.read()
        metrics = await asked.ask("GET", "/metrics", None, None, {"Host": asked.local})
        replies.append(metrics)
        spoken = repr(asked.hub.hub.turn.traffic.requests) + repr(refusals(asked.hub))
    statuses = {reply.status for reply in replies}
    assert statuses >= {200, 400, 401, 403, 404, 415, 429, 503}
    heard = [repr(reply) for reply in replies] + [answered.decode(), caplog.text, *map(str, caplog.messages), spoken]
    for shown in heard:
        assert CANARY not in shown and CANARY[:10] not in shown and token[:30] not in shown
