"""Brokers in Kubernetes: three servers of NATS that know of each other, or one of Valkey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.deployment.brokers import (
    MONITOR,
    ROUTES,
    SERVED,
    configuration,
    data_folder,
    health_command,
    server_command,
)
from orchestrator.deployment.kubernetes_pods import (
    READABLE,
    budget,
    container,
    exec_probe,
    http_probe,
    labels,
    mount,
    named,
    pod,
    selected,
)
from orchestrator.deployment.yaml_text import Noted

if TYPE_CHECKING:
    from orchestrator.deployment.shape import Broker, Deployment

_SERVERS = 3
"""Of NATS: one may be away, and the others agree on what was accepted."""


def broker_objects(deployment: Deployment, broker: Broker) -> list[dict[str, Any]]:
    served = SERVED[broker.engine]
    name = served.service
    servers = _SERVERS if broker.engine == "nats" else 1
    cluster = tuple(f"{deployment.name}-{name}-{at}.{deployment.name}-{name}" for at in range(servers))
    conf = configuration(broker, data=data_folder(broker), cluster=cluster if servers > 1 else ())
    config = {**named(deployment, "ConfigMap", "v1", name), "data": {served.conf: conf}}
    found = [config, _service(deployment, broker), _servers(deployment, broker, servers), _policy(deployment, broker)]
    return [*found, budget(deployment, name)] if servers > 1 else found


def _ports(broker: Broker) -> dict[str, int]:
    name = SERVED[broker.engine].service
    return {name: broker.port, **({"routes": ROUTES} if broker.engine == "nats" else {})}


def _service(deployment: Deployment, broker: Broker) -> dict[str, Any]:
    name = SERVED[broker.engine].service
    return {
        **named(deployment, "Service", "v1", name),
        "spec": {
            "clusterIP": Noted("Each server has a name of its own, and this one means all of them.", "None"),
            "publishNotReadyAddresses": Noted("They have to find each other before they are ready.", True),
            "selector": labels(deployment, name),
            "ports": [{"name": port, "port": number, "targetPort": port} for port, number in _ports(broker).items()],
        },
    }


def _servers(deployment: Deployment, broker: Broker, servers: int) -> dict[str, Any]:
    served = SERVED[broker.engine]
    name, folder = served.service, f"/etc/{served.service}"
    mounts = [mount("config", folder)]
    volumes: list[dict[str, Any]] = [
        {
            "name": "config",
            "projected": Noted(
                "The accounts lie beside the configuration, which includes them.",
                {
                    "defaultMode": READABLE,
                    "sources": [
                        {"configMap": {"name": f"{deployment.name}-{name}"}},
                        {"secret": {"name": f"{deployment.name}-{name}-accounts"}},
                    ],
                },
            ),
        }
    ]
    claims = {}
    if broker.keeps_tasks:
        mounts.append(mount("data", served.data, writable=True))
        size = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}
        claims = {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": size}]}
    serving = container(
        name,
        served.image,
        server_command(broker, folder),
        **_own_name(broker),
        ports=[
            {"name": port, "containerPort": number}
            for port, number in (*_ports(broker).items(), *([("monitor", MONITOR)] if broker.engine == "nats" else []))
        ],
        **_probes(broker),
        mounts=mounts,
        requests={"cpu": "250m", "memory": "256Mi"},
        memory="1Gi",
    )
    return {
        **named(deployment, "StatefulSet", "apps/v1", name),
        "spec": {
            "replicas": servers,
            "serviceName": f"{deployment.name}-{name}",
            "selector": selected(deployment, name),
            "podManagementPolicy": "Parallel",
            "updateStrategy": Noted("One server after the other.", {"type": "RollingUpdate"}),
            "template": pod(deployment, name, serving, volumes, 60),
            **claims,
        },
    }


def _own_name(broker: Broker) -> dict[str, Any]:
    if broker.engine != "nats":
        return {}
    name = {"fieldRef": {"fieldPath": "metadata.name"}}
    ending = ["nats-server", "-sl=ldm=/tmp/nats.pid"]
    return {
        "env": Noted("What a server is called in the cluster.", [{"name": "POD_NAME", "valueFrom": name}]),
        "lifecycle": Noted("Clients are sent to the other servers first.", {"preStop": {"exec": {"command": ending}}}),
    }


def _probes(broker: Broker) -> dict[str, Any]:
    if broker.engine == "nats":
        return {
            "startupProbe": http_probe("/healthz", "monitor", periodSeconds=2, failureThreshold=90),
            "livenessProbe": http_probe("/healthz?js-enabled-only=true", "monitor", periodSeconds=20),
            "readinessProbe": http_probe("/healthz?js-server-only=true", "monitor", periodSeconds=10),
        }
    probe = health_command(broker)
    return {
        "startupProbe": exec_probe(probe, periodSeconds=2, failureThreshold=90),
        "livenessProbe": exec_probe(probe, periodSeconds=20, failureThreshold=3),
        "readinessProbe": exec_probe(probe, periodSeconds=10, failureThreshold=1),
    }


def _policy(deployment: Deployment, broker: Broker) -> dict[str, Any]:
    name = SERVED[broker.engine].service
    ours = {"matchLabels": {"app.kubernetes.io/part-of": deployment.name}}
    return {
        **named(deployment, "NetworkPolicy", "networking.k8s.io/v1", name),
        "spec": {
            "podSelector": selected(deployment, name),
            "policyTypes": ["Ingress"],
            "ingress": Noted(
                "Hubs and agents of this topology, and the other servers.",
                [{"from": [{"podSelector": ours}], "ports": [{"port": port} for port in _ports(broker)]}],
            ),
        },
    }
