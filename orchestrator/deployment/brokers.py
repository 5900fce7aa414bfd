"""The brokers' own files: configurations, and the accounts that are kept beside them as secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.deployment.yaml_text import commented

if TYPE_CHECKING:
    from orchestrator.deployment.shape import Broker, Engine

USER: Final = "orchestrator"
MONITOR: Final = 8222
"""The port on which NATS says how it is."""
ROUTES: Final = 6222
"""The port on which servers of NATS find each other."""


class Served(NamedTuple):
    """How one engine is run."""

    service: str
    """What it is called among its neighbours."""
    image: str
    program: str
    conf: str
    """The name of its configuration."""
    accounts: str
    """The name of the file with its passwords, beside the configuration."""
    data: str


SERVED: Final[dict[Engine, Served]] = {
    "nats": Served("nats", "nats:2-alpine", "nats-server", "nats.conf", "nats-accounts.conf", "/data"),
    "redis": Served("redis", "valkey/valkey:9-alpine", "valkey-server", "valkey.conf", "valkey-users.acl", "/data"),
}


def data_folder(broker: Broker) -> str:
    """Return where a broker in a container keeps what it keeps."""
    return SERVED[broker.engine].data if broker.keeps_tasks else "/tmp"  # noqa: S108 - a container has its own


def server_command(broker: Broker, folder: str, program: str = "") -> list[str]:
    """Return how a broker is started with the configuration in `folder`."""
    served = SERVED[broker.engine]
    conf = f"{folder}/{served.conf}"
    words = [program or served.program]
    if broker.engine == "nats":
        return [*words, "-c", conf]
    return [*words, conf, "--aclfile", f"{folder}/{served.accounts}"]


def configuration(broker: Broker, *, data: str, host: str = "", cluster: tuple[str, ...] = ()) -> str:
    """Return a broker's configuration. `host`: where it listens; empty = everywhere. `cluster`: the servers of one."""
    if broker.engine == "nats":
        return _nats(broker, data, host, cluster)
    return _valkey(broker, data, host)


def _nats(broker: Broker, data: str, host: str, cluster: tuple[str, ...]) -> str:
    lines = [
        *(["server_name: $POD_NAME"] if cluster else []),
        f"listen: {host or '0.0.0.0'}:{broker.port}",  # noqa: S104 - in a network of its own
        "# GET /healthz; nothing else of it is needed by anybody.",
        f"http: {host or '0.0.0.0'}:{MONITOR}",  # noqa: S104 - as above
        "",
        "# Accounts are a secret, and lie beside this file.",
        f"include {SERVED['nats'].accounts}",
    ]
    if broker.keeps_tasks:
        lines += [
            "",
            "jetstream {",
            f"  store_dir: {data}",
            *(f"  {line}" for line in commented("What was accepted is on disk before it is acknowledged.")),
            "  sync_interval: always",
            "  max_file_store: 8GB",
            "}",
        ]
    if cluster:
        lines += [
            "",
            "cluster {",
            "  name: orchestrator",
            f"  listen: 0.0.0.0:{ROUTES}",
            f"  routes: [{', '.join(f'nats-route://{server}:{ROUTES}' for server in cluster)}]",
            "}",
            "# Told to end, a server sends its clients to the others first.",
            "pid_file: /tmp/nats.pid",
            "lame_duck_grace_period: 5s",
            "lame_duck_duration: 30s",
        ]
    return "\n".join(lines) + "\n"


def _valkey(broker: Broker, data: str, host: str) -> str:
    lines = [f"bind {host or '* -::*'}", f"port {broker.port}", f"dir {data}", 'save ""']
    if broker.keeps_tasks:
        lines += [
            "# What was accepted is on disk before it is acknowledged.",
            "appendonly yes",
            "appendfsync always",
            "# Full is an error that is told; nothing is thrown away to make room.",
            "maxmemory-policy noeviction",
        ]
    else:
        lines += ["# Messages pass through; nothing is kept.", "appendonly no"]
    return "\n".join(lines) + "\n"


def health_command(broker: Broker) -> list[str]:
    """Return what tells, in the broker's container, whether it is well."""
    if broker.engine == "nats":
        return ["wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{MONITOR}/healthz"]
    return ["valkey-cli", "-e", "ping"]


def account_lines(broker: Broker, password: str) -> list[str]:
    """Return the file of accounts, with `password` as it is to appear in a shell's printf."""
    if broker.engine == "nats":
        return [f'authorization {{ user: {USER}, password: "{password}" }}']
    # Whoever is nobody may ask whether the server is there: probes have no password.
    return ["user default on nopass resetkeys resetchannels -@all +ping", f"user {USER} on >{password} ~* &* +@all"]


def backplane_address(broker: Broker, host: str, password: str) -> str:
    return f"{broker.engine}://{USER}:{password}@{host}:{broker.port}{broker.backplane_path}"


def store_address(broker: Broker, host: str, password: str) -> str:
    """Return the address of a store; of NATS it says what no client can see, and `configuration` provides."""
    synced = "?sync=always" if broker.engine == "nats" else ""
    return f"{broker.engine}://{USER}:{password}@{host}:{broker.port}{broker.store_path}{synced}"
