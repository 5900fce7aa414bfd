"""The address of an engine: ``nats://user:password@one:4222,two:4222/namespace``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from orchestrator.errors import did_you_mean
from orchestrator.hub.backplane import NoSuchBackplane

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_NAMESPACE: Final = "default"


@dataclass(frozen=True, slots=True)
class EngineUrl:
    scheme: str
    servers: tuple[tuple[str, int], ...]
    """Hosts and ports; any of them will do."""
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    namespace: str = DEFAULT_NAMESPACE
    """What keeps deployments on one engine apart."""

    @property
    def shown(self) -> str:
        """The address without credentials."""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.servers)
        return f"{self.scheme}://{hosts}"


def read_url(url: str, ports: Mapping[str, int]) -> EngineUrl:
    """Read an address whose scheme is one of `ports`, with the port that each has unless it says another.

    Raises `NoSuchBackplane`, whose text holds nothing of the address but its scheme and the host that is wrong.
    """
    scheme, there, rest = url.partition("://")
    scheme = scheme.lower()
    if not there or scheme not in ports:
        raise NoSuchBackplane(_unknown_scheme(scheme if there else "", ports))
    hosts, _, path = rest.partition("/")
    if "?" in rest or "#" in rest:
        raise NoSuchBackplane(f"the address of a backplane ({scheme}://…) takes no options after a ? or a #")
    found = [_server(scheme, host, ports[scheme]) for host in hosts.split(",")]
    credentials = {given for _, given in found if given != (None, None)}
    if len(credentials) > 1:
        raise NoSuchBackplane(f"the servers of one backplane ({scheme}://…) share their credentials, and these do not")
    user, password = credentials.pop() if credentials else (None, None)
    servers = tuple(dict.fromkeys(server for server, _ in found))
    return EngineUrl(scheme, servers, user, password, unquote(path.strip("/")) or DEFAULT_NAMESPACE)


def _server(scheme: str, host: str, port: int) -> tuple[tuple[str, int], tuple[str | None, str | None]]:
    try:
        parts = urlsplit(f"//{host}")
        where = parts.hostname, parts.port or port
    except ValueError:
        where = None, 0
        parts = urlsplit("//")
    if not where[0]:
        said = host.rpartition("@")[2]
        raise NoSuchBackplane(
            f"{said!r} is no server of a backplane; an address looks like {scheme}://127.0.0.1:{port}/namespace"
        )
    user, password = parts.username, parts.password
    return (where[0], where[1]), (
        None if user is None else unquote(user),
        None if password is None else unquote(password),
    )


def _unknown_scheme(scheme: str, ports: Mapping[str, int]) -> str:
    allowed = ", ".join(f"{name}://" for name in ports)
    if not scheme:
        return f"the address of a backplane begins with one of {allowed}"
    return f"{scheme}:// is no backplane{did_you_mean(scheme, ports)}; allowed are {allowed}"
