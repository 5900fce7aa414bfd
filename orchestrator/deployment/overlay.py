"""The topology of a deployment: what its engine decides, as a file that is laid over the topology itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from orchestrator.deployment.names import LONGEST, unit_name
from orchestrator.deployment.yaml_text import Noted, document

if TYPE_CHECKING:
    from orchestrator.topology.model import Topology
    from orchestrator.topology.plan import Plan

FILE: Final = "deployment.yaml"
_HEAD: Final = """What is different where this topology is deployed. It is laid over the topology by a second -f, so that the
topology itself stays as it is; what stands in ${…} comes from the file topology.env, which is a secret."""


def data_folder(name: str) -> str:
    """Return where the file of a store lies; `name` is that of the deployment."""
    return f"/var/lib/orchestrator/{name}"


def overlay(plan: Plan, topology: Topology) -> str:
    """Return the text of the file."""
    hub: dict[str, Any] = {
        "key": Noted("Tokens are signed with the key that the hubs check them with.", "${HUB_KEY}"),
    }
    if topology.hub.backplane != "memory":
        hub["backplane"] = Noted("Hubs are joined by their own options; agents only connect to one of them.", "memory")
    content: dict[str, Any] = {"version": Noted(_HEAD, 1), "hub": hub}
    if plan.store is not None:
        content["store"] = _store(plan.store, unit_name(plan.name, LONGEST))
    return document(content)


def engine_of(address: str) -> Literal["nats", "redis"]:
    return "nats" if address.startswith("nats:") else "redis"


def _store(store: str, name: str) -> Any:
    if store == "memory:":
        return Noted("Tasks that are open are lost with the process: sqlite:///tasks.db keeps them.", store)
    if store.startswith("sqlite:"):
        return Noted("On a volume, so that it outlives its container.", f"sqlite:///{data_folder(name)}/tasks.db")
    return Noted("With the broker's password.", f"${{{engine_of(store).upper()}_URL}}")
