"""A topology for Kubernetes: hubs behind a service, a broker, and a workload for each agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.deployment import overlay, secrets
from orchestrator.deployment.commands import (
    AGENT_GRACE,
    HUB_DRAIN,
    TRUST,
    TRUSTED,
    Places,
    hub_command,
    probe_command,
    run_command,
)
from orchestrator.deployment.kubernetes_brokers import broker_objects
from orchestrator.deployment.kubernetes_pods import (
    budget,
    container,
    exec_probe,
    http_probe,
    labels,
    mount,
    named,
    pod,
    secret_files,
    selected,
)
from orchestrator.deployment.kubernetes_secrets import KEYS, commands, secret_templates
from orchestrator.deployment.shape import outside, why_together
from orchestrator.deployment.yaml_text import Noted, Off, commented, document

if TYPE_CHECKING:
    from orchestrator.deployment.shape import Deployment, HubPart, Workload

FILE: Final = "kubernetes.yaml"
_PLACES: Final = Places(
    program="orchestrator",
    keys="/etc/orchestrator/hub/keys.yaml",
    certificate="/etc/orchestrator/hub/tls.crt",
    backplane="/etc/orchestrator/backplane/url",
    overlay=f"/etc/orchestrator/deployment/{overlay.FILE}",
    variables="/etc/orchestrator/secrets/topology.env",
)
_BEFORE_DRAIN: Final = 5
"""Seconds in which the service learns that a hub is about to end, before it sends its clients to the others."""


def start_commands(deployment: Deployment, context: str) -> list[str]:
    """Return what starts it. `context`: the way to the project's folder."""
    return [
        f"docker build -t {deployment.image} -f Dockerfile {context}",
        *([f"docker push {deployment.image}"] if "/" in deployment.image else []),
        f"kubectl apply -f {FILE}",
    ]


def manifests(deployment: Deployment, overlay_text: str) -> str:
    """Return all objects, as the documents of one file."""
    objects = []
    if deployment.workloads:
        objects.append(
            {
                **named(deployment, "ConfigMap", "v1", "deployment"),
                "data": {overlay.FILE: overlay_text},
            }
        )
    for broker in deployment.written_brokers:
        objects += broker_objects(deployment, broker)
    if deployment.hub is not None:
        objects += _hub_objects(deployment, deployment.hub)
    if deployment.workloads:
        objects.append(_agents_service(deployment))
        objects.append(_nobody_in(deployment))
    for workload in deployment.workloads:
        objects += _agent_objects(deployment, workload)
    parts = [*(document(each) for each in objects), *secret_templates(deployment)]
    return "\n".join([*commented(_head(deployment)), ""]) + "---\n".join(["", *parts]).removeprefix("\n")


def _head(deployment: Deployment) -> str:
    lines = [
        f"The topology {deployment.title!r} for Kubernetes 1.32 and later.",
        *filter(None, (why_together(deployment), outside(deployment))),
        "",
        "Once, to make the secrets and to give them to the cluster; add -n NAMESPACE to every kubectl if you like:",
        *(f"  {line}" for line in commands(deployment)),
        secrets.optional(deployment),
        "",
        f"The image {deployment.image} has to be where the cluster finds it; `orchestrator export --image` names another.",
        f"Then:  kubectl apply -f {FILE}",
    ]
    return "\n".join(lines)


# -- hubs


def _hub_objects(deployment: Deployment, hub: HubPart) -> list[dict[str, Any]]:
    service = {
        **named(deployment, "Service", "v1", "hub"),
        "spec": {
            "selector": labels(deployment, "hub"),
            "ports": [{"name": "hub", "port": hub.port, "targetPort": "hub"}],
        },
    }
    found = [service, _hub_deployment(deployment, hub), _hub_policy(deployment)]
    return [*found, budget(deployment, "hub")] if hub.count > 1 else found


def _hub_deployment(deployment: Deployment, hub: HubPart) -> dict[str, Any]:
    if hub.count > 1:
        strategy = Noted(
            "One hub more comes before one goes: clients of the one that goes find a place.",
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        )
    else:
        strategy = Noted(
            "Two hubs that nothing joins would split the agents among them, so the old one goes first. A backplane in the "
            "topology makes updates without a gap possible.",
            {"type": "Recreate"},
        )
    mounts = [mount("keys", "/etc/orchestrator/hub")]
    volumes = [
        {
            "name": "keys",
            "secret": Noted(
                "Mounted as a folder, so that the hubs see a changed Secret: a key that is revoked in it closes its "
                "connections.",
                secret_files(f"{deployment.name}-{KEYS}"),
            ),
        }
    ]
    if deployment.backplane is not None:
        mounts.append(mount("backplane", "/etc/orchestrator/backplane"))
        volumes.append(_secret_volume("backplane", f"{deployment.name}-backplane"))
    grace = _BEFORE_DRAIN + HUB_DRAIN
    serving = container(
        "hub",
        deployment.image,
        hub_command(deployment, _PLACES, "0.0.0.0", tls=True),  # noqa: S104 - in a pod, behind a policy
        ports=[{"name": "hub", "containerPort": hub.port}],
        startupProbe=http_probe("/healthz", "hub", scheme="HTTPS", periodSeconds=1, failureThreshold=60),
        livenessProbe=http_probe("/healthz", "hub", scheme="HTTPS", periodSeconds=10, failureThreshold=3),
        readinessProbe=http_probe("/readyz", "hub", scheme="HTTPS", periodSeconds=5, failureThreshold=1),
        lifecycle=Noted(
            "When the drain begins, nobody is sent here any more.", {"preStop": {"sleep": {"seconds": _BEFORE_DRAIN}}}
        ),
        mounts=mounts,
        requests={"cpu": "250m", "memory": "256Mi"},
        memory="1Gi",
    )
    return {
        **named(deployment, "Deployment", "apps/v1", "hub"),
        "spec": {
            "replicas": hub.count,
            "selector": selected(deployment, "hub"),
            "strategy": strategy,
            "template": pod(deployment, "hub", serving, volumes, grace + 10),
        },
    }


def _hub_policy(deployment: Deployment) -> dict[str, Any]:
    ours = {"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": deployment.name}}}
    proxy = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}
    return {
        **named(deployment, "NetworkPolicy", "networking.k8s.io/v1", "hub"),
        "spec": {
            "podSelector": selected(deployment, "hub"),
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [
                        ours,
                        Off("Users come in through a proxy that speaks TLS: let its namespace in, too.", proxy),
                    ],
                    "ports": [{"port": "hub"}],
                }
            ],
        },
    }


def _secret_volume(name: str, secret: str) -> dict[str, Any]:
    return {"name": name, "secret": secret_files(secret)}


# -- agents


def _agents_service(deployment: Deployment) -> dict[str, Any]:
    return {
        **named(deployment, "Service", "v1", "agents"),
        "spec": {
            "clusterIP": Noted("A stateful set wants a service for the names of its pods; nobody calls them.", "None"),
            "selector": {"app.kubernetes.io/part-of": deployment.name, _AGENT: "true"},
        },
    }


_AGENT: Final = "orchestrator/agent"
"""The label of every pod that runs agents."""


def _nobody_in(deployment: Deployment) -> dict[str, Any]:
    return {
        **named(deployment, "NetworkPolicy", "networking.k8s.io/v1", "agents"),
        "spec": {
            "podSelector": Noted(
                "Agents call their hub and the services that they need; nobody calls them.",
                {"matchLabels": {"app.kubernetes.io/part-of": deployment.name, _AGENT: "true"}},
            ),
            "policyTypes": ["Ingress"],
            "ingress": [],
        },
    }


def _agent_objects(deployment: Deployment, workload: Workload) -> list[dict[str, Any]]:
    apart = workload.agent is not None and workload.numbered
    copies = workload.replicas if apart else 1
    spec: dict[str, Any] = {
        "replicas": copies,
        "serviceName": f"{deployment.name}-agents",
        "selector": selected(deployment, workload.name),
        "podManagementPolicy": Noted("Replicas do not wait for each other.", "Parallel"),
        "updateStrategy": Noted(
            "One replica after the other, each once the one before is ready. Never two with one peer id: that is why this"
            " is no Deployment.",
            {"type": "RollingUpdate"},
        ),
    }
    if apart:
        spec["ordinals"] = Noted("Pods are counted as replicas are: from 1.", {"start": 1})
    spec["template"] = _agent_pod(deployment, workload, apart=apart)
    if deployment.keeps_file:
        spec["volumeClaimTemplates"] = [_claim("data", "10Gi")]
    stateful = {**named(deployment, "StatefulSet", "apps/v1", workload.name), "spec": spec}
    return [stateful, budget(deployment, workload.name)] if copies > 1 else [stateful]


def _claim(name: str, size: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
    }


def _agent_pod(deployment: Deployment, workload: Workload, *, apart: bool) -> dict[str, Any]:
    hub = deployment.hub
    url = None if hub is None else f"wss://{deployment.name}-hub:{hub.port}"
    mounts = [mount("deployment", "/etc/orchestrator/deployment"), mount("secrets", "/etc/orchestrator/secrets")]
    volumes = [
        {"name": "deployment", "configMap": {"name": f"{deployment.name}-deployment"}},
        _secret_volume("secrets", f"{deployment.name}-topology"),
    ]
    if deployment.keeps_file:
        mounts.append(mount("data", overlay.data_folder(deployment.name), writable=True))
    trusting: list[Any] = []
    if hub is not None:
        mounts.append(mount("trust", TRUST))
        volumes.append({"name": "trust", "configMap": {"name": f"{deployment.name}-hub-trust"}})
        trusting.append(
            Noted(
                "Beside all others, agents trust the certificate of their hub.",
                {"name": "SSL_CERT_DIR", "value": TRUSTED},
            )
        )
    number = {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}
    counted = Noted("The number of the replica, for --only.", {"name": "POD_INDEX", "valueFrom": number})
    environment = [*([counted] if apart else []), *trusting]
    probe = probe_command(deployment, _PLACES)
    command = run_command(deployment, _PLACES, workload, url, "$(POD_INDEX)" if apart else "")
    running = container(
        "agents",
        deployment.image,
        command if apart else [word.replace("$(", "$$(") for word in command],
        **({"env": environment} if environment else {}),
        startupProbe=Noted(
            "Whether the run answers; it restarts its agents by itself.",
            exec_probe(probe, periodSeconds=5, failureThreshold=24),
        ),
        livenessProbe=exec_probe(probe, periodSeconds=30, failureThreshold=3),
        mounts=mounts,
        requests={"cpu": "100m", "memory": "192Mi"} if apart else _shared(workload),
        memory="512Mi" if apart else f"{256 + 256 * max(1, workload.replicas)}Mi",
    )
    template = pod(deployment, workload.name, running, volumes, AGENT_GRACE + 15)
    template["metadata"]["labels"][_AGENT] = "true"
    return template


def _shared(workload: Workload) -> dict[str, str]:
    return {"cpu": f"{100 * max(1, workload.replicas)}m", "memory": f"{128 + 64 * max(1, workload.replicas)}Mi"}
