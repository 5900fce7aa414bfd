"""The dashboard's files over HTTP: a fixed list, read once, with what keeps a browser from running anything else."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from orchestrator.hub.rest import error_answer

_FOLDER: Final = Path(__file__).with_name("page")
_INDEX: Final = "index.html"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{sockets}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_is_host: Final = re.compile(r"[A-Za-z0-9.-]{1,253}(?::\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?").fullmatch


@dataclass(frozen=True, slots=True)
class PageFile:
    content: bytes
    content_type: str
    etag: str


@cache
def page_files() -> dict[str, PageFile]:
    """Return what the dashboard consists of, by name; read when it is first asked for."""
    return {path.name: _read(path) for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}


def page_routes() -> list[web.RouteDef]:
    async def index(request: web.Request) -> web.Response:
        return _answer(request, _INDEX)

    async def named(request: web.Request) -> web.Response:
        return _answer(request, request.match_info["name"])

    return [web.get("/", index), web.get("/page/{name}", named)]


def _read(path: Path) -> PageFile:
    content = path.read_bytes()
    return PageFile(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _answer(request: web.Request, name: str) -> web.Response:
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and origin.partition("://")[2] != request.host:
        return error_answer(HTTPStatus.FORBIDDEN, "action_not_permitted", "pages of other origins are not answered")
    file = page_files().get(name)
    if file is None:
        return error_answer(HTTPStatus.NOT_FOUND, "not_found", "there is no such route")
    headers = {**_HEADERS, hdrs.ETAG: file.etag, "Content-Security-Policy": _policy(request)}
    if file.etag in re.findall(r'"[^"]*"', request.headers.get(hdrs.IF_NONE_MATCH, "")):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return web.Response(body=file.content, headers={**headers, hdrs.CONTENT_TYPE: file.content_type})


def _policy(request: web.Request) -> str:
    """Name the sockets of this origin, which older browsers do not take ``'self'`` for; a host that is none is not
    repeated."""
    host = request.host
    return _POLICY.format(sockets=f" ws://{host} wss://{host}" if _is_host(host) else "")
