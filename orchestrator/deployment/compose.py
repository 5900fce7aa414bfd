"""A topology for Docker Compose: everything on one machine, in containers that may do little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.deployment import overlay, secrets
from orchestrator.deployment.brokers import SERVED, configuration, data_folder, health_command, server_command
from orchestrator.deployment.commands import (
    AGENT_GRACE,
    HUB_DRAIN,
    TRUST,
    TRUSTED,
    Places,
    hub_command,
    probe_command,
    ready_command,
    run_command,
)
from orchestrator.deployment.shape import outside, why_together
from orchestrator.deployment.yaml_text import Noted, Off, document

if TYPE_CHECKING:
    from orchestrator.deployment.shape import Broker, Deployment, Workload

FILE: Final = "compose.yaml"
_SECRETS: Final = "secrets"
"""The folder beside the file in which the user has the secrets."""
_PLACES: Final = Places(
    program="orchestrator",
    keys="/etc/orchestrator/hub/keys.yaml",
    certificate="/etc/orchestrator/hub/tls.crt",
    backplane="/run/secrets/backplane",
    overlay=f"/etc/orchestrator/{overlay.FILE}",
    variables="/run/secrets/topology.env",
)
_USER: Final = "${RUN_AS:?write RUN_AS=$$(id -u):$$(id -g) into .env}"


def commands(deployment: Deployment) -> list[str]:
    """Return what makes the secrets and the folders, in the folder of the file."""
    hosts = {broker.engine: SERVED[broker.engine].service for broker in deployment.brokers}
    folders = _folders(deployment)
    return [
        'printf \'RUN_AS=%s:%s\\n\' "$(id -u)" "$(id -g)" > .env',
        *([f"mkdir -p {' '.join(folders)}"] if folders else []),
        *secrets.commands(deployment, _SECRETS, hosts),
        *(secrets.certificate_commands(_SECRETS, "hub") if deployment.hub is not None else []),
    ]


def start_command() -> str:
    return "docker compose up -d --build"


def compose_file(deployment: Deployment, overlay_text: str, build: dict[str, str] | None) -> dict[str, str]:
    """Return the files, by name. `build`: the context and the Dockerfile, from here; `None` = the image is there."""
    services: dict[str, Any] = {}
    for broker in deployment.written_brokers:
        services[SERVED[broker.engine].service] = _broker(broker)
    if deployment.hub is not None:
        services["hub"] = _hub(deployment, build)
    for workload in deployment.workloads:
        services[workload.name] = _agents(deployment, workload, build)
    content: dict[str, Any] = {"name": deployment.name, "services": services}
    content["networks"] = {
        "agents": Noted("Agents reach services outside through this one.", {}),
        **(
            {
                "engine": Noted(
                    "Nobody but hubs and agents reaches the broker, and it reaches nobody.", {"internal": True}
                )
            }
            if deployment.written_brokers
            else {}
        ),
    }
    content["configs"] = _configs(deployment)
    content["secrets"] = _secrets(deployment)
    files = {FILE: document(content, _head(deployment)), overlay.FILE: overlay_text}
    for broker in deployment.written_brokers:
        served = SERVED[broker.engine]
        files[served.conf] = configuration(broker, data=data_folder(broker))
    return files


def _head(deployment: Deployment) -> str:
    lines = [
        f"The topology {deployment.title!r} for Docker Compose.",
        *filter(None, (why_together(deployment), outside(deployment))),
        "",
        "Once, in this folder, to make the secrets, which only you can read:",
        *(f"  {line}" for line in commands(deployment)),
        secrets.optional(deployment),
        "",
        f"Then:  {start_command()}",
        "A new version, with hubs and agents that end what they do first, is the same command.",
    ]
    return "\n".join(lines)


def _folders(deployment: Deployment) -> list[str]:
    kept = [f"data/{SERVED[broker.engine].service}" for broker in deployment.written_brokers if broker.keeps_tasks]
    return [*kept, *(["data/agents"] if deployment.keeps_file else [])]


def _configs(deployment: Deployment) -> dict[str, Any]:
    found = {"deployment": {"file": f"./{overlay.FILE}"}} if deployment.workloads else {}
    for broker in deployment.written_brokers:
        served = SERVED[broker.engine]
        found[served.service] = {"file": f"./{served.conf}"}
    return found


def _secrets(deployment: Deployment) -> dict[str, Any]:
    found = {"topology.env": {"file": f"./{_SECRETS}/topology.env"}} if deployment.workloads else {}
    if deployment.backplane is not None:
        found["backplane"] = {"file": f"./{_SECRETS}/backplane"}
    for broker in deployment.written_brokers:
        served = SERVED[broker.engine]
        found[f"{served.service}-accounts"] = {"file": f"./{_SECRETS}/{served.accounts}"}
    return found


def _confined(grace: int) -> dict[str, Any]:
    """Return what every container has: few rights, a file system that nobody writes to, and time to end."""
    return {
        "user": Noted("As you, who own the secrets; never as root.", _USER),
        "init": True,
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108 - inside a container, which has its own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        "stop_grace_period": Noted("Longer than it takes to end in peace.", f"{grace}s"),
    }


def _limits(cpus: Any, memory: str, processes: int, replicas: int = 1) -> dict[str, Any]:
    limits = {"memory": memory, "pids": processes, "cpus": cpus}
    return {
        **({"replicas": replicas} if replicas > 1 else {}),
        "resources": {"limits": Noted("Measure what yours needs, and write it here.", limits)},
    }


def _ours(deployment: Deployment, build: dict[str, str] | None) -> dict[str, Any]:
    return {"image": _plain(deployment.image), **({"build": dict(build)} if build else {})}


def _plain(text: str) -> str:
    """Return a text in which Compose fills in nothing."""
    return text.replace("$", "$$")


def _needs(deployment: Deployment, *, hub: bool) -> dict[str, Any]:
    needed = [SERVED[broker.engine].service for broker in deployment.written_brokers]
    needed += ["hub"] if hub and deployment.hub is not None else []
    return {"depends_on": {name: {"condition": "service_healthy"} for name in needed}} if needed else {}


def _networks(deployment: Deployment) -> list[str]:
    return ["agents", "engine"] if deployment.written_brokers else ["agents"]


def _probe(command: list[str], *, start: str, every: str = "10s") -> dict[str, Any]:
    return {
        "test": ["CMD", *map(_plain, command)],
        "interval": every,
        "timeout": "5s",
        "retries": 3,
        "start_period": start,
    }


def _bound(source: str, target: str, *, read_only: bool = False) -> dict[str, Any]:
    return {
        "type": "bind",
        "source": source,
        "target": target,
        **({"read_only": True} if read_only else {}),
        "bind": {"create_host_path": False},
    }


def _hub(deployment: Deployment, build: dict[str, str] | None) -> dict[str, Any]:
    hub = deployment.hub
    assert hub is not None, "it is written where there is one"
    keys = _bound(f"./{_SECRETS}/hub", "/etc/orchestrator/hub", read_only=True)
    last = hub.port + hub.count - 1
    published = f"{hub.port}-{last}" if hub.count > 1 else str(hub.port)
    joined = {"secrets": ["backplane"]} if deployment.backplane is not None else {}
    return {
        **_ours(deployment, build),
        "command": Noted(
            "Its certificate names the host 'hub', for that is how agents call it.",
            list(map(_plain, hub_command(deployment, _PLACES, "0.0.0.0", tls=True))),  # noqa: S104 - in a container
        ),
        **_confined(HUB_DRAIN + 10),
        "ports": Noted(
            "For users on this machine, who trust its certificate. Without 127.0.0.1 others reach it, too.",
            [f"127.0.0.1:{published}:{hub.port}"],
        ),
        "volumes": Noted(
            "A folder, and not a secret of Compose's: `orchestrator keys revoke` replaces the file in it, which the hubs see"
            " within a second. A file that is mounted by itself would stay the old one.",
            [keys],
        ),
        **joined,
        "networks": _networks(deployment),
        **_needs(deployment, hub=False),
        "healthcheck": _probe(ready_command(deployment), start="10s"),
        "ulimits": Noted("A connection is an open file.", {"nofile": {"soft": 65536, "hard": 65536}}),
        "deploy": _limits("1.0", "1G", 256, hub.count),
    }


def _agents(deployment: Deployment, workload: Workload, build: dict[str, str] | None) -> dict[str, Any]:
    hub = deployment.hub
    url = None if hub is None else f"wss://hub:{hub.port}"
    replicas = max(1, workload.replicas)
    whose = "All agents" if workload.agent is None else workload.agent
    said = f"{whose}: one container, with a process, a peer id and a token for each replica, {replicas} in all."
    volumes = [_bound("./trust", TRUST, read_only=True)] if hub is not None else []
    if deployment.keeps_file:
        volumes.append(_bound("./data/agents", overlay.data_folder(deployment.name)))
    trusting = Noted("Beside all others, agents trust the certificate of their hub.", {"SSL_CERT_DIR": TRUSTED})
    return {
        **_ours(deployment, build),
        "command": Noted(said, list(map(_plain, run_command(deployment, _PLACES, workload, url)))),
        **_confined(AGENT_GRACE + 15),
        "configs": [{"source": "deployment", "target": _PLACES.overlay}],
        "secrets": ["topology.env"],
        **({"environment": trusting} if hub is not None else {}),
        **({"volumes": volumes} if volumes else {}),
        "networks": _networks(deployment),
        **_needs(deployment, hub=True),
        "healthcheck": Noted(
            "Whether the run answers; it restarts its agents by itself.",
            _probe(probe_command(deployment, _PLACES), start="30s", every="30s"),
        ),
        "deploy": _limits(
            Off("Docker refuses more than the machine has.", "2.0"),
            f"{256 + 256 * replicas}M",
            128 + 64 * replicas,
        ),
    }


def _broker(broker: Broker) -> dict[str, Any]:
    served = SERVED[broker.engine]
    folder = f"/etc/{served.service}"
    data = {"volumes": [_bound(f"./data/{served.service}", served.data)]} if broker.keeps_tasks else {}
    return {
        "image": served.image,
        "command": server_command(broker, folder),
        **_confined(30),
        "configs": [{"source": served.service, "target": f"{folder}/{served.conf}"}],
        "secrets": [{"source": f"{served.service}-accounts", "target": f"{folder}/{served.accounts}"}],
        **data,
        "networks": ["engine"],
        "healthcheck": _probe(health_command(broker), start="10s"),
        "deploy": _limits("1.0", "1G", 256),
    }
