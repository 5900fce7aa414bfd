"""The files of the dashboard over HTTP, and what a browser is told to allow them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from orchestrator.hub.page_files import page_files
from tests.hub.sockets import server

FOLDER = Path(__file__).parents[2] / "orchestrator" / "hub" / "page"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with server() as running, aiohttp.ClientSession(running.http_url) as session:
        yield session


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/page/app.js", "text/javascript"),
        ("/page/style.css", "text/css"),
        ("/page/icon.svg", "image/svg+xml"),
    ],
)
async def test_files_come_with_their_types_and_with_what_protects_them(
    http: aiohttp.ClientSession, path: str, kind: str
) -> None:
    async with http.get(path) as answer:
        assert answer.status == 200
        assert answer.content_type == kind
        headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-cache"
        assert "Set-Cookie" not in headers
        assert await answer.read() == (FOLDER / (path.rpartition("/")[2] or "index.html")).read_bytes()


async def test_the_policy_allows_this_hub_and_nothing_else(http: aiohttp.ClientSession) -> None:
    async with http.get("/") as answer:
        host = answer.request_info.url.authority
        assert answer.headers["Content-Security-Policy"].split("; ") == [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            f"connect-src 'self' ws://{host} wss://{host}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]


async def test_a_host_that_is_none_gets_into_no_policy(http: aiohttp.ClientSession) -> None:
    async with http.get("/", headers={"Host": "x; script-src *"}) as answer:
        policy = answer.headers.get("Content-Security-Policy", "")
        assert "script-src *" not in policy


async def test_what_is_known_already_is_not_sent_again(http: aiohttp.ClientSession) -> None:
    async with http.get("/page/app.js") as first:
        tag = first.headers["ETag"]
    async with http.get("/page/app.js", headers={"If-None-Match": f'"other", W/{tag}'}) as again:
        assert again.status == 304
        assert again.headers["ETag"] == tag
        assert await again.read() == b""


async def test_a_head_is_answered_without_a_body(http: aiohttp.ClientSession) -> None:
    async with http.head("/") as answer:
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) == (FOLDER / "index.html").stat().st_size


@pytest.mark.parametrize(
    "path", ["/page/", "/page/none.js", "/page/..%2fhttp.py", "/page/%2e%2e/page_files.py", "/page/app.js/x"]
)
async def test_other_paths_are_not_found(http: aiohttp.ClientSession, path: str) -> None:
    from yarl import URL

    async with http.get(URL(path, encoded=True)) as answer:
        assert answer.status == 404


async def test_pages_of_other_origins_are_not_answered(http: aiohttp.ClientSession) -> None:
    async with http.get("/", headers={"Origin": "https://elsewhere.example"}) as answer:
        assert answer.status == 403
    async with http.get("/") as own:
        origin = f"http://{own.request_info.url.authority}"
    async with http.get("/", headers={"Origin": origin}) as answer:
        assert answer.status == 200


def test_scripts_make_no_markup_and_name_no_other_host() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|setHTML|srcdoc|document\.cookie"
    )
    for name, file in page_files().items():
        text = file.content.decode()
        assert not forbidden.findall(text), name
        assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9-]+\.[a-z]", text), name


def test_styles_and_scripts_of_the_page_are_files_of_it() -> None:
    index = page_files()["index.html"].content.decode()
    named = re.findall(r'(?:src|href)="([^"]*)"', index)
    assert named
    assert all(each.removeprefix("/page/") in page_files() for each in named)
    assert not re.findall(r"\sstyle=|\son\w+=|<style|<script(?! type=\"module\" src)", index)
