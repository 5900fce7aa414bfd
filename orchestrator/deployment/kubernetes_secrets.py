"""The Secrets of a deployment in Kubernetes: the commands that make them, and what they look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.deployment import secrets
from orchestrator.deployment.brokers import SERVED
from orchestrator.deployment.kubernetes_pods import named
from orchestrator.deployment.yaml_text import commented, document

if TYPE_CHECKING:
    from orchestrator.deployment.shape import Deployment

KEYS: Final = "hub-keys"
"""What the Secret with the hubs' files is called after the topology."""
_FOLDER: Final = "secrets"


def commands(deployment: Deployment) -> list[str]:
    """Return what makes the secrets, in the folder of the file, and gives them to the cluster."""
    hosts = {broker.engine: f"{deployment.name}-{SERVED[broker.engine].service}" for broker in deployment.brokers}
    lines = secrets.commands(deployment, _FOLDER, hosts)
    if deployment.hub is not None:
        lines += secrets.certificate_commands(_FOLDER, f"{deployment.name}-hub")
        lines.append(f"kubectl create configmap {deployment.name}-hub-trust --from-file=trust")
    create = "kubectl create secret generic"
    if deployment.hub is not None:
        lines.append(f"{create} {deployment.name}-{KEYS} --from-file={_FOLDER}/hub")
    if deployment.backplane is not None:
        lines.append(f"{create} {deployment.name}-backplane --from-file=url={_FOLDER}/backplane")
    if deployment.workloads:
        lines.append(f"{create} {deployment.name}-topology --from-file={_FOLDER}/topology.env")
    for broker in deployment.written_brokers:
        served = SERVED[broker.engine]
        name = f"{deployment.name}-{served.service}-accounts"
        lines.append(f"{create} {name} --from-file={_FOLDER}/{served.accounts}")
    return lines


def secret_templates(deployment: Deployment) -> list[str]:
    """Return the Secrets as comments: for whoever makes them by files, which belong into no repository."""
    wanted = []
    if deployment.hub is not None:
        keys = "secret_keys:\n- id: sk_id_…\n  secret: sk_secret_…\n"
        wanted.append((KEYS, {"keys.yaml": keys, "tls.crt": "…", "tls.key": "…"}))
    if deployment.backplane is not None:
        wanted.append(("backplane", {"url": f"{deployment.backplane.engine}://USER:PASSWORD@HOST:PORT"}))
    if deployment.workloads:
        lines = ["HUB_KEY='sk_id_…:sk_secret_…'"]
        lines += [f"{broker.variable}='{broker.engine}://USER:PASSWORD@HOST:PORT'" for broker in deployment.brokers]
        lines += [f"{each.name}='…'" for each in deployment.variables if each.required]
        wanted.append(("topology", {"topology.env": "\n".join([*lines, ""])}))
    for broker in deployment.written_brokers:
        served = SERVED[broker.engine]
        wanted.append((f"{served.service}-accounts", {served.accounts: "…"}))
    texts = []
    for name, data in wanted:
        template = {**named(deployment, "Secret", "v1", name), "type": "Opaque", "stringData": data}
        texts += [*document(template).splitlines(), "---"]
    why = "The Secrets that are referred to above, for a tool that keeps them encrypted. They are made by the commands above."
    return ["\n".join([*commented(why), *(f"# {line}" for line in texts[:-1])]) + "\n"] if texts else []
