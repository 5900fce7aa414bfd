"""What is written for Kubernetes is what its schemas allow, and hangs together."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from orchestrator.deployment.commands import AGENT_GRACE, HUB_DRAIN
from tests.deployment.exporting import TOPOLOGIES, VALUES, command_problem, documents, files_of
from tests.deployment.schemas import VERSIONS, kubernetes_problems

Object = dict[str, Any]


def manifests(kind: str, *options: str) -> str:
    return files_of(kind, "k8s", *options)["kubernetes.yaml"]


def objects(kind: str, *options: str) -> dict[tuple[str, str], Object]:
    found = documents(manifests(kind, *options))
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def pods(found: dict[tuple[str, str], Object]) -> dict[str, Object]:
    return {name: each["spec"]["template"] for (_, name), each in found.items() if "template" in each.get("spec", {})}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_the_schemas_have_nothing_against_it(kind: str, version: str) -> None:
    problems = {
        f"{each['kind']} {each['metadata']['name']}": kubernetes_problems(each, version)
        for each in objects(kind).values()
    }
    assert {name: found for name, found in problems.items() if found} == {}


def test_the_schemas_would_have_something_against_a_field_that_there_is_not() -> None:
    hub = objects("alone")["Deployment", "alone-hub"]
    wrong = copy.deepcopy(hub)
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    assert kubernetes_problems(wrong, VERSIONS[0])


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_no_two_objects_are_the_same(kind: str) -> None:
    assert len(documents(manifests(kind))) == len(objects(kind))


@pytest.mark.parametrize("kind", ["nats", "redis", "kept in a file", "programs"])
def test_everything_that_selects_pods_selects_some(kind: str) -> None:
    found = objects(kind)
    labels = [pod["metadata"]["labels"] for pod in pods(found).values()]
    for (what, name), each in found.items():
        selectors = {
            "Service": lambda spec: spec["selector"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "StatefulSet": lambda spec: spec["selector"]["matchLabels"],
            "Deployment": lambda spec: spec["selector"]["matchLabels"],
        }
        if what in selectors:
            selected = selectors[what](each["spec"])
            matching = sum(selected.items() <= label.items() for label in labels)
            assert matching >= 1 if name.endswith("-agents") else matching == 1, (what, name)


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_everything_that_is_mounted_is_there(kind: str) -> None:
    text = manifests(kind)
    found = {(each["kind"], each["metadata"]["name"]): each for each in documents(text)}
    for name, pod in pods(found).items():
        [container] = pod["spec"]["containers"]
        claimed = found.get(("StatefulSet", name), {}).get("spec", {}).get("volumeClaimTemplates", [])
        volumes = [each["name"] for each in pod["spec"]["volumes"]] + [each["metadata"]["name"] for each in claimed]
        assert sorted(volumes) == sorted(each["name"] for each in container["volumeMounts"])
        for volume in pod["spec"]["volumes"]:
            if "secret" in volume:
                assert f"kubectl create secret generic {volume['secret']['secretName']} " in text
                assert f"#   name: {volume['secret']['secretName']}\n" in text
            if "configMap" in volume:
                named = volume["configMap"]["name"]
                assert ("ConfigMap", named) in found or f"kubectl create configmap {named} " in text


def test_a_replica_is_a_pod_with_its_number() -> None:
    helper = objects("nats")["StatefulSet", "newsroom-helper"]["spec"]
    [container] = helper["template"]["spec"]["containers"]
    assert (helper["replicas"], helper["ordinals"]) == (3, {"start": 1})
    assert container["command"][container["command"].index("--only") + 1] == "helper.$(POD_INDEX)"
    assert [each["name"] for each in container["env"]] == ["POD_INDEX", "SSL_CERT_DIR"]


def test_an_agent_without_replicas_is_one_pod_without_a_number() -> None:
    boss = objects("nats")["StatefulSet", "newsroom-boss"]["spec"]
    [container] = boss["template"]["spec"]["containers"]
    assert boss["replicas"] == 1
    assert container["command"][container["command"].index("--only") + 1] == "boss"


def test_what_shares_a_file_is_one_pod_with_a_volume() -> None:
    text = manifests("kept in a file")
    found = {(each["kind"], each["metadata"]["name"]): each for each in documents(text)}
    agents = found["StatefulSet", "file-kept-agents"]["spec"]
    assert agents["replicas"] == 1
    assert [each["metadata"]["name"] for each in agents["volumeClaimTemplates"]] == ["data"]
    assert "which one run alone reaches" in text


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_pods_may_do_little(kind: str) -> None:
    for pod in pods(objects(kind)).values():
        spec = pod["spec"]
        [container] = spec["containers"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert {"startupProbe", "livenessProbe"} <= container.keys()
        assert len(spec["topologySpreadConstraints"]) == 2


def test_pods_have_longer_to_end_than_what_runs_in_them_takes() -> None:
    found = pods(objects("nats"))
    [hub] = found["newsroom-hub"]["spec"]["containers"]
    before = hub["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert found["newsroom-hub"]["spec"]["terminationGracePeriodSeconds"] > before + HUB_DRAIN
    assert found["newsroom-helper"]["spec"]["terminationGracePeriodSeconds"] > AGENT_GRACE


def test_hubs_that_are_joined_are_replaced_without_a_gap_and_one_by_itself_is_never_two() -> None:
    joined = objects("nats")
    alone = objects("alone")
    assert joined["Deployment", "newsroom-hub"]["spec"]["strategy"]["rollingUpdate"] == {
        "maxSurge": 1,
        "maxUnavailable": 0,
    }
    assert ("PodDisruptionBudget", "newsroom-hub") in joined
    assert alone["Deployment", "alone-hub"]["spec"]["strategy"] == {"type": "Recreate"}
    assert alone["Deployment", "alone-hub"]["spec"]["replicas"] == 1
    assert ("PodDisruptionBudget", "alone-hub") not in alone


def test_hubs_are_probed_by_their_routes() -> None:
    [hub] = pods(objects("nats"))["newsroom-hub"]["spec"]["containers"]
    assert hub["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "hub", "scheme": "HTTPS"}
    assert hub["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "hub", "scheme": "HTTPS"}


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_every_command_is_one_that_there_is(kind: str) -> None:
    for pod in pods(objects(kind)).values():
        [container] = pod["spec"]["containers"]
        if container["command"][0] == "orchestrator":
            assert command_problem(container["command"]) == ""
            for probe in ("startupProbe", "livenessProbe"):
                run = container[probe].get("exec")
                assert run is None or command_problem(run["command"]) == ""


@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_no_value_of_a_variable_is_written(kind: str) -> None:
    text = manifests(kind)
    assert not [value for value in (*VALUES.values(), "whispered") if value in text]


def test_the_templates_of_secrets_are_objects_once_they_are_uncommented() -> None:
    text = manifests("filled in").rpartition("---\n# The Secrets")[2]
    lines = [line.removeprefix("#").removeprefix(" ") for line in text.splitlines()]
    templates = documents("\n".join(lines[lines.index("apiVersion: v1") :]))
    assert [each["metadata"]["name"] for each in templates] == [
        "newsroom-hub-keys",
        "newsroom-backplane",
        "newsroom-topology",
        "newsroom-nats-accounts",
    ]
    assert [kubernetes_problems(each, VERSIONS[0]) for each in templates] == [[], [], [], []]
    assert yaml.safe_load(templates[0]["stringData"]["keys.yaml"])["secret_keys"]
    assert "SERVICE_KEY='…'" in templates[2]["stringData"]["topology.env"]
