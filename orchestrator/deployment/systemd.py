"""A topology for systemd: units on one machine, each confined, that start and end together."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from orchestrator.deployment import overlay, secrets
from orchestrator.deployment.brokers import SERVED, configuration, server_command
from orchestrator.deployment.commands import AGENT_GRACE, HUB_DRAIN, Places, hub_command, run_command
from orchestrator.deployment.shape import outside, why_together
from orchestrator.deployment.yaml_text import commented

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.deployment.shape import Broker, Deployment, Workload

_LOOPBACK: Final = "127.0.0.1"


def _folder(deployment: Deployment) -> str:
    return f"/etc/orchestrator/{deployment.name}"


def _program(deployment: Deployment) -> str:
    """Return where the code is: the package under ``venv``, the project under ``app``."""
    return f"/opt/{deployment.name}"


def _places(deployment: Deployment) -> Places:
    """Return where a unit finds its files; ``%d`` is the folder of its credentials."""
    return Places(
        program=f"{_program(deployment)}/venv/bin/orchestrator",
        keys="%d/keys.yaml",
        certificate="%d/tls.crt",
        backplane="%d/backplane",
        overlay=f"{_folder(deployment)}/{overlay.FILE}",
        variables="%d/topology.env",
    )


def commands(deployment: Deployment, project: str) -> list[str]:
    """Return what installs the code, the files and the secrets: for root, in the folder of the files.

    `project`: the way from there to the folder with the code.
    """
    folder, program = _folder(deployment), _program(deployment)
    hosts = {broker.engine: _LOOPBACK for broker in deployment.brokers}
    extras = ",".join(broker.engine for broker in deployment.brokers)
    package = f"'topology-orchestrator{f'[{extras}]' if extras else ''}=={deployment.version}'"
    needed = f" -r {program}/app/requirements.txt" if deployment.sources.requirements else ""
    confs = [SERVED[broker.engine].conf for broker in deployment.written_brokers]
    left_out = " ".join(
        f"--exclude={name}" for name in (".env", ".git", ".venv", ".orchestrator", "__pycache__", "secrets")
    )
    return [
        f"mkdir -p {program}/app",
        f"tar -C {shlex.quote(project)} {left_out} -cf - . | tar -C {program}/app -xf - && chmod -R a+rX {program}/app",
        f"python3 -m venv {program}/venv && {program}/venv/bin/pip install {package}{needed}",
        f"install -D -m 644 -t {folder} {' '.join([overlay.FILE, *confs])}",
        f"export PATH={program}/venv/bin:$PATH",
        *secrets.commands(deployment, f"{folder}/secrets", hosts),
        f"install -m 644 -t /etc/systemd/system {deployment.name}*.service {deployment.name}*.target"
        + (f" {deployment.name}*.path" if deployment.hub is not None else ""),
    ]


def start_commands(deployment: Deployment) -> list[str]:
    return ["systemctl daemon-reload", f"systemctl enable --now {deployment.name}.target"]


def units(deployment: Deployment, overlay_text: str, project: str) -> dict[str, str]:
    """Return the units and the files that they read, by name; `project` as in `commands`."""
    services = {
        f"{deployment.name}-{SERVED[each.engine].service}": _broker(deployment, each)
        for each in deployment.written_brokers
    }
    if deployment.hub is not None:
        services[f"{deployment.name}-hub"] = _hub(deployment)
    for workload in deployment.workloads:
        services[f"{deployment.name}-{workload.name}"] = _agents(deployment, workload)
    found = {f"{deployment.name}.target": _target(deployment, list(services), project)}
    found |= {f"{name}.service": text for name, text in services.items()}
    if deployment.hub is not None:
        found |= _revocation(deployment)
    found[overlay.FILE] = overlay_text
    for broker in deployment.written_brokers:
        served = SERVED[broker.engine]
        data = f"/var/lib/{deployment.name}-{served.service}"
        found[served.conf] = configuration(broker, data=data, host=_LOOPBACK)
    return found


def quoted(words: Iterable[str], *, own: Sequence[str] = ()) -> str:
    """Return a command line that systemd reads as these words; in those that are `own`, ``%d`` means what it does."""
    return " ".join(word if word in own else _quoted(word) for word in words)


def _quoted(word: str) -> str:
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    text = "".join(character if character.isprintable() else _escaped(character) for character in text)
    plain = text == word and text and not set(text) & set(" ';\t")
    return text if plain else f'"{text}"'


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode())


def _target(deployment: Deployment, services: list[str], project: str) -> str:
    lines = [
        *commented(f"The topology {deployment.title!r} on one machine, for systemd 250 and later."),
        *(line for said in (why_together(deployment), outside(deployment)) if said for line in commented(said)),
        "#",
        "# As root, in the folder with these files:",
        *(f"#   {line}" for line in (*commands(deployment, project), *start_commands(deployment))),
        *commented(secrets.optional(deployment)),
        "[Unit]",
        f"Description=The topology {_described(deployment.title)}",
        f"Wants={' '.join(f'{name}.service' for name in services)}",
        *([f"Wants={deployment.name}-hub-keys.path"] if deployment.hub is not None else []),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _described(text: str) -> str:
    return text.replace("%", "%%")


def _service(
    deployment: Deployment,
    what: str,
    *,
    command: str,
    credentials: list[str],
    after: list[str],
    memory: str,
    tasks: int,
    stop: int,
    about: str = "",
    more: Sequence[str] = (),
) -> str:
    """Return a unit; `stop` in seconds."""
    lines = [
        *commented(about),
        "[Unit]",
        f"Description={_described(what)}",
        f"PartOf={deployment.name}.target",
        f"After={' '.join(['network-online.target', *after])}",
        f"Wants={' '.join(['network-online.target', *after])}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        f"ExecStart={command}",
        "# Secrets are copied to where this unit alone can read them.",
        *(f"LoadCredential={each}" for each in credentials),
        *more,
        "Restart=on-failure",
        "RestartSec=2",
        "# What is wrong with the files is wrong at the next start, too.",
        "RestartPreventExitStatus=2 3",
        "# The first signal is for the process that ends the others in peace.",
        "KillMode=mixed",
        f"TimeoutStopSec={stop}",
        "",
        "# Measure what yours needs, and write it here.",
        f"MemoryMax={memory}",
        f"TasksMax={tasks}",
        "LimitNOFILE=65536",
        "LimitCORE=0",
        "",
        "# A user that exists while this runs, and a file system that it only reads.",
        "DynamicUser=yes",
        *_CONFINED,
    ]
    return "\n".join(lines) + "\n"


_CONFINED: Final = (
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "UMask=0077",
)


def _secret(deployment: Deployment, name: str, file: str) -> str:
    return f"{name}:{_folder(deployment)}/secrets/{file}"


def _brokers_of(deployment: Deployment) -> list[str]:
    return [f"{deployment.name}-{SERVED[broker.engine].service}.service" for broker in deployment.written_brokers]


def _hub(deployment: Deployment) -> str:
    hub = deployment.hub
    assert hub is not None, "it is written where there is one"
    places = _places(deployment)
    credentials = [_secret(deployment, "keys.yaml", "hub/keys.yaml")]
    if deployment.backplane is not None:
        credentials.append(_secret(deployment, "backplane", "backplane"))
    probe = f"http://{_LOOPBACK}:{hub.port}/readyz"
    return _service(
        deployment,
        f"The hub of {deployment.title}",
        about=f"Agents on this machine reach it at ws://{_LOOPBACK}:{hub.port}. For users elsewhere, put something "
        "before it that speaks TLS. "
        + (
            "Each further machine has a hub of its own, which the backplane joins to this one."
            if deployment.backplane is not None
            else ""
        ),
        command=quoted(hub_command(deployment, places, _LOOPBACK, tls=False), own=[places.keys, places.backplane]),
        credentials=credentials,
        after=_brokers_of(deployment),
        memory="1G",
        tasks=256,
        stop=HUB_DRAIN + 10,
        more=[
            "# It has started when it takes connections. Where curl is missing, agents try until it does.",
            f"ExecStartPost=-/usr/bin/curl -sSf -o /dev/null --retry 30 --retry-delay 1 --retry-connrefused {probe}",
        ],
    )


def _revocation(deployment: Deployment) -> dict[str, str]:
    """Return the units that start a hub again when its keys have changed: it has a copy of them."""
    name = f"{deployment.name}-hub-keys"
    path = [
        "# `orchestrator keys revoke` changes the file; the hub has a copy, which is made anew when it starts.",
        "[Unit]",
        f"Description=The keys of the hub of {_described(deployment.title)}",
        f"PartOf={deployment.name}.target",
        "",
        "[Path]",
        f"PathChanged={_folder(deployment)}/secrets/hub/keys.yaml",
        f"Unit={name}.service",
    ]
    service = [
        "# Agents that have a key which still holds are back within seconds.",
        "[Unit]",
        f"Description=Give the hub of {_described(deployment.title)} its keys anew",
        "",
        "[Service]",
        "Type=oneshot",
        f"ExecStart=/usr/bin/systemctl try-restart {deployment.name}-hub.service",
    ]
    return {f"{name}.path": "\n".join(path) + "\n", f"{name}.service": "\n".join(service) + "\n"}


def _agents(deployment: Deployment, workload: Workload) -> str:
    hub = deployment.hub
    url = None if hub is None else f"ws://{_LOOPBACK}:{hub.port}"
    places = _places(deployment)
    who = workload.agent or "all agents"
    apart = (
        f" On several machines, each has some of the replicas: --only {workload.agent}.1-2 here, for example, and "
        f"--only {workload.agent}.3- on another."
        if workload.agent is not None and workload.numbered
        else ""
    )
    more = [f"WorkingDirectory={_program(deployment)}/app"]
    if deployment.keeps_file:
        more += ["# The store's file lies here.", f"StateDirectory=orchestrator/{deployment.name}"]
    replicas = max(1, workload.replicas)
    return _service(
        deployment,
        f"{who} of {deployment.title}",
        about=f"A process, a peer id and a token for each replica, {replicas} in all; the run restarts them by itself.{apart}",
        command=quoted(run_command(deployment, places, workload, url), own=[places.variables]),
        credentials=[_secret(deployment, "topology.env", "topology.env")],
        after=[*_brokers_of(deployment), *([f"{deployment.name}-hub.service"] if hub is not None else [])],
        memory=f"{256 + 256 * replicas}M",
        tasks=128 + 64 * replicas,
        stop=AGENT_GRACE + 15,
        more=more,
    )


def _broker(deployment: Deployment, broker: Broker) -> str:
    served = SERVED[broker.engine]
    name = f"{deployment.name}-{served.service}"
    command = server_command(broker, "%d", f"/usr/bin/{served.program}")
    return _service(
        deployment,
        f"The {served.program} of {deployment.title}",
        about=f"It listens on this machine alone: for several, change that in {served.conf}, and the addresses among the "
        f"secrets. The program comes from the package that has {served.program}.",
        command=quoted(command, own=[word for word in command if word.startswith("%d")]),
        credentials=[
            f"{served.conf}:{_folder(deployment)}/{served.conf}",
            _secret(deployment, served.accounts, served.accounts),
        ],
        after=[],
        memory="1G",
        tasks=256,
        stop=30,
        more=[f"StateDirectory={name}"],
    )
