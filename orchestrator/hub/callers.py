"""Who asks over HTTP for what, as far as a request tells: a page, and whose; or somebody on this machine."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from orchestrator.hub.local_user import is_loopback, is_passed_on, names_loopback
from orchestrator.hub.rest_requests import RestRefusal, find_route

if TYPE_CHECKING:
    from aiohttp import web

    from orchestrator.hub.local_user import End

WEBSOCKETS: Final = "/v1"
"""Where pages of any origin may connect: they need a credential, which cookies are not."""
_ROUTES: Final = {"/": "page", "/session": "session", "/metrics": "metrics", "/healthz": "healthz", "/readyz": "readyz"}
_OWN_SITES: Final = frozenset({"same-origin", "none"})
"""What a browser says of a page's own requests, and of what a person has typed."""


def ends(request: web.Request) -> tuple[End, End] | None:
    """Return our address and the caller's; `None` for a connection that is gone."""
    transport = request.transport
    here, there = (None if transport is None else transport.get_extra_info(name) for name in ("sockname", "peername"))
    return (here[:2], there[:2]) if here and there else None


def is_near(request: web.Request) -> bool:
    """Tell whether a request comes from this machine, asks for it by the name that only it has, and was sent by no proxy
    for somebody else."""
    found = ends(request)
    return (
        found is not None
        and is_loopback(found[1][0])
        and names_loopback(request.headers.getall("Host", []))
        and not is_passed_on(request.headers)
    )


def refuse_pages(request: web.Request) -> None:
    """Raise `RestRefusal` for a request of a page from elsewhere, whether or not that could read the answer.

    A proxy may have taken the TLS off, so of the page's origin it is the host alone that is compared.
    """
    if any(origin.partition("://")[2] != request.host for origin in request.headers.getall("Origin", [])):
        raise _refusal()


def refuse_other_sites(request: web.Request) -> None:
    """Do the same where the answer itself is worth having: the whole origin counts, and what the browser says besides."""
    scheme = "http" if _is_plain(request) else "https"
    own = f"{scheme}://{request.headers.get('Host', '')}".lower()
    others = any(origin.lower() != own for origin in request.headers.getall("Origin", []))
    if others or not set(request.headers.getall("Sec-Fetch-Site", [])) <= _OWN_SITES:
        raise _refusal()


def _refusal() -> RestRefusal:
    return RestRefusal(HTTPStatus.FORBIDDEN, "action_not_permitted", "pages of other origins are not answered")


def _is_plain(request: web.Request) -> bool:
    return request.transport is None or request.transport.get_extra_info("sslcontext") is None


def route_of(request: web.Request) -> str:
    """Return the name of what is asked for; there are few of them, whatever is."""
    path = request.raw_path.partition("?")[0]
    if path in _ROUTES:
        return _ROUTES[path]
    if path.startswith("/page/"):
        return "page"
    try:
        route = find_route(request.method, request.raw_path)
    except RestRefusal:  # its id cannot be read
        route = None
    return "other" if route is None else route.action.name.lower()
