"""What all pods of a deployment have in common: labels, rights, probes, and how they are spread and disturbed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.deployment.image import USER
from orchestrator.deployment.yaml_text import Noted

if TYPE_CHECKING:
    from orchestrator.deployment.shape import Deployment


def labels(deployment: Deployment, component: str) -> dict[str, str]:
    return {"app.kubernetes.io/part-of": deployment.name, "app.kubernetes.io/component": component}


def named(deployment: Deployment, kind: str, version: str, component: str, name: str = "") -> dict[str, Any]:
    """Return how an object begins. `name`: what it is called after the topology; empty = as the component."""
    full = f"{deployment.name}-{name or component}"
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": full, "labels": labels(deployment, component)},
    }


def selected(deployment: Deployment, component: str) -> dict[str, Any]:
    return {"matchLabels": labels(deployment, component)}


POD_RIGHTS: Final[dict[str, Any]] = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": Noted("Secrets and volumes are readable by this group, which is the pod's own.", USER),
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_RIGHTS: Final[dict[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod(
    deployment: Deployment, component: str, container: dict[str, Any], volumes: list[dict[str, Any]], grace: int
) -> dict[str, Any]:
    """Return the template of a pod with one container; `grace` in seconds."""
    return {
        "metadata": {"labels": labels(deployment, component)},
        "spec": {
            "automountServiceAccountToken": Noted("Nothing in here asks the cluster anything.", False),
            "enableServiceLinks": False,
            "securityContext": dict(POD_RIGHTS),
            "terminationGracePeriodSeconds": Noted("Longer than it takes to end in peace.", grace),
            "topologySpreadConstraints": Noted(
                "One machine less is not all of them less. DoNotSchedule makes a rule of the wish.",
                _spread(deployment, component),
            ),
            "containers": [container],
            "volumes": [*volumes, {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
        },
    }


def container(
    name: str,
    image: str,
    command: list[str],
    *,
    mounts: list[dict[str, Any]],
    requests: dict[str, str],
    memory: str,
    **more: Any,
) -> dict[str, Any]:
    """Return a container that may do little. `requests`: what it is sure to get; `memory`: what it may have at most."""
    return {
        "name": name,
        "image": image,
        "command": command,
        **more,
        "resources": Noted(
            "Measure what yours needs, and write it here. Memory has a limit; a limit of CPU would only slow it down.",
            {"requests": requests, "limits": {"memory": memory}},
        ),
        "securityContext": dict(CONTAINER_RIGHTS),
        "volumeMounts": [*mounts, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - a volume of the pod's own
    }


def mount(name: str, path: str, *, writable: bool = False) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **({} if writable else {"readOnly": True})}


def http_probe(path: str, port: str, *, scheme: str = "HTTP", **more: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": port, "scheme": scheme}, "timeoutSeconds": 3, **more}


def exec_probe(command: list[str], **more: int) -> dict[str, Any]:
    return {"exec": {"command": command}, "timeoutSeconds": 5, **more}


def _spread(deployment: Deployment, component: str) -> list[dict[str, Any]]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": selected(deployment, component),
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


def secret_files(secret: str, **more: Any) -> dict[str, Any]:
    """Return where the files of a volume come from, which the pod's group reads."""
    return {"secretName": secret, "defaultMode": READABLE, **more}


READABLE: Final = Noted("That is 0440: the pod's group reads it.", 0o440)


def budget(deployment: Deployment, component: str) -> dict[str, Any]:
    """Return how many of these pods may be taken away at a time."""
    return {
        **named(deployment, "PodDisruptionBudget", "policy/v1", component),
        "spec": {"maxUnavailable": 1, "selector": selected(deployment, component)},
    }
