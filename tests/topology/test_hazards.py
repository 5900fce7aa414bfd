"""Hazards 30 to 33, 37, 38 and 64 to 66, as far as a topology file is concerned."""

from __future__ import annotations

import msgspec
import pytest

from orchestrator.errors import TopologyError
from orchestrator.protocol.globs import covers, matches
from orchestrator.protocol.limits import MAX_TOKEN_LIFE
from orchestrator.topology.plan import make_plan
from tests.topology.files import DESK, DESK_REPORTS, ENVIRON, SMALLEST, complaints, read

ONE = "version: 1\nworkers:\n  w: {handler: app:W}\n"


def test_hazard_30_the_key_of_a_hub_is_a_pair_of_an_id_and_a_secret() -> None:
    for key in ("hunter2", "sk_id_a", "a:b", ":sk_secret_a"):
        (said,) = complaints(f'{ONE}hub: {{key: "${{OWN}}"}}\n', {"OWN": key})
        assert said == "4:12: hub.key: a key is a pair sk_id_…:sk_secret_…, and this is none"


def test_hazard_32_no_token_is_to_live_longer_than_a_day() -> None:
    for life in ("25h", str(MAX_TOKEN_LIFE + 1), "0", "1e308", "-1s", ".inf", "true"):
        assert complaints(f"{ONE}hub: {{token_ttl: {life}}}\n") != []
        assert complaints(f"{ONE}users: {{u: {{token_ttl: {life}}}}}\n") != []
    plan = make_plan(read(f"{ONE}hub: {{token_ttl: 24h}}\n"), None)
    assert plan.replicas[0].claims(exp=MAX_TOKEN_LIFE, instance="i").exp == MAX_TOKEN_LIFE


def test_hazard_33_a_short_secret_is_refused_before_anything_starts() -> None:
    (said,) = complaints(f'{ONE}hub: {{key: "${{SHORT_KEY}}"}}\n')
    assert said.startswith("4:12: hub.key: ")
    assert "32" in said


def test_hazard_37_no_derived_pattern_reaches_another_agents_tasks() -> None:
    plan = make_plan(read(DESK), DESK_REPORTS)
    inboxes = {replica.inbox: replica.agent for replica in plan.replicas if replica.inbox}
    for replica in plan.replicas:
        reached = {
            agent for inbox, agent in inboxes.items() for grant in replica.grants.publish if matches(grant, inbox)
        }
        assert reached == {pool.agent for pool in replica.pools}
        heard = {inbox for inbox in inboxes for grant in replica.grants.subscribe if matches(grant, inbox)}
        assert heard <= {replica.inbox}
        assert not any(
            covers(grant, "**") for grants in msgspec.to_builtins(replica.grants).values() for grant in grants
        )


@pytest.mark.parametrize("channel", ["a/*", "a\\*b", "**", "tasks/w", "pools/w", ""])
def test_hazard_38_a_channel_of_a_team_is_one_literal_name(channel: str) -> None:
    (said,) = complaints(f"{ONE}teams:\n  t: {{members: [w], channel: '{channel}'}}\n")
    assert said.startswith("5:30: teams.t.channel: ")


def test_hazard_38_names_are_taken_as_they_are_written() -> None:
    for name in ("a//b", "a/../b", "a%2fb", "A/b"):
        topology = read(f"{ONE}teams:\n  t: {{members: [w], channel: '{name}'}}\n")
        assert make_plan(topology, None).replicas[0].teams[0].channel == name


def test_hazard_64_a_plan_shows_neither_the_key_nor_what_variables_held() -> None:
    text = f'{SMALLEST}hub: {{key: "${{KEY}}"}}\n'.replace("replicas: 3", "environment: {TOKEN: '${SECRET}'}")
    plan = make_plan(read(text), None)
    shown = repr(plan) + repr(plan.hub)
    assert ENVIRON["KEY"].partition(":")[2] not in shown


@pytest.mark.parametrize("key", ["handler", "name", "replicas", "enabled", "concurrency", "restart", "capabilities"])
def test_hazard_64_what_a_variable_holds_is_in_no_mistake(key: str) -> None:
    text = "\n".join(complaints(f"version: 1\nworkers:\n  w: {{handler: app:W, {key}: '${{SECRET}}'}}\n"))
    assert ENVIRON["SECRET"] not in text


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nworkers: &w\n  a: *w\n",
        "version: 1\nx-a: " + "[" * 5_000 + "]" * 5_000 + "\n",
        "version: 1\nworkers: {a: !!python/object/apply:os.system [id]}\n",
        "version: 1\nworkers:\n  a: {handler: app:A}\n  a: {handler: app:B}\n",
        "%YAML 1.1\n---\nversion: 1\n",
        f"{ONE}---\n{ONE}",
    ],
    ids=["a loop", "depth", "a tag", "a double", "a directive", "two documents"],
)
def test_hazard_65_what_yaml_offers_beyond_plain_values_is_refused(text: str) -> None:
    assert len(complaints(text)) == 1


@pytest.mark.parametrize(
    "handler",
    [
        "..app:W", "../app:W", "/etc/passwd:W", "app/x:W", "app:W()", "app:W.x", "app;os:W", "app :W", "app:W\\nx",
        "app.:W", ".app:W", "app::W", "app:", ":W", "app-x:W", "C:app:W", "app:W:X", "\u0430pp:W ",
    ],
)  # fmt: skip
def test_hazard_66_a_handler_is_the_name_of_a_module_and_never_a_path_or_code(handler: str) -> None:
    (said,) = complaints(f'version: 1\nworkers:\n  w: {{handler: "{handler}"}}\n')
    assert said.startswith("3:16: workers.w.handler: a handler is written 'module:Class' or 'module'")


def test_hazard_66_a_command_is_a_list_of_words_which_no_shell_reads() -> None:
    (said,) = complaints("version: 1\nagents:\n  a: {command: 'rm -rf / ; echo $HOME'}\n")
    assert said.startswith("3:16: agents.a.command: expected a list")
    topology = read("version: 1\nagents:\n  a: {command: [echo, $HOME, '; id', '`id`', 'a b']}\n")
    assert make_plan(topology, None).replicas[0].command == ("echo", "$HOME", "; id", "`id`", "a b")


@pytest.mark.parametrize("path", ["/etc/passwd", "/dev/zero"])
def test_hazard_66_a_file_is_included_by_a_relative_path_alone(path: str) -> None:
    with pytest.raises(TopologyError, match="is an absolute path"):
        read(f"{ONE}include: {path}\n")
