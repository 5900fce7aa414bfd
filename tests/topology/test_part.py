"""Parts of a plan: who runs here, at which hub, and which store they would need."""

from __future__ import annotations

import pytest

from orchestrator.errors import ExitCode
from orchestrator.topology.part import NoSuchPart, part_of, presence_channel
from orchestrator.topology.plan import Plan, make_plan
from tests.topology.files import DESK, read

HUB = "wss://hub.example:7700"
KEY = "hub: {key: '${KEY}'}\n"
KEPT = (
    f"version: 1\n{KEY}coordinators:\n  boss: {{handler: app:Boss, workers: [ant, bee]}}\nworkers:\n"
    "  ant: {handler: app:Ant, replicas: 2, tasks: {delivery: at-least-once}}\n"
    "  bee: {handler: app:Bee}\nagents:\n  scribe: {external: true}\n  clerk: {handler: app:Clerk}\n"
)
STRONG = (
    f"version: 1\n{KEY}store: sqlite:///s.db\nagents:\n  a: {{handler: app:A}}\n  b: {{handler: app:B}}\n"
    "  c: {handler: app:C}\nteams:\n  t: {members: [a, b]}\n  u: {members: [c], claims: {consistency: strong}}\n"
)


def planned(text: str) -> Plan:
    return make_plan(read(text), None)


def here(plan: Plan) -> list[str]:
    return [replica.peer_id for replica in plan.here]


def refused(text: str, **options: object) -> str:
    with pytest.raises(NoSuchPart) as caught:
        part_of(planned(text), **options)  # type: ignore[arg-type]
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value)


def test_without_a_wish_everything_that_a_run_starts_runs_here() -> None:
    plan = planned(KEPT)
    assert part_of(plan) == plan
    assert here(plan) == ["boss", "ant.1", "ant.2", "bee", "clerk"]


def test_those_that_are_named_run_here_with_all_their_replicas_and_the_plan_stays_whole() -> None:
    plan = planned(KEPT)
    part = part_of(plan, only=["ant", "boss"])
    assert here(part) == ["boss", "ant.1", "ant.2"]
    assert part.elsewhere == {"bee", "clerk"}
    assert part.replicas == plan.replicas


def test_those_that_are_excepted_run_elsewhere_and_an_external_one_does_so_anyway() -> None:
    part = part_of(planned(KEPT), but=["bee", "scribe"])
    assert here(part) == ["boss", "ant.1", "ant.2", "clerk"]
    assert part.elsewhere == {"bee"}


def test_some_replicas_of_an_agent_run_here_and_the_others_elsewhere() -> None:
    part = part_of(planned(KEPT), only=["ant.2", "clerk"])
    assert here(part) == ["ant.2", "clerk"]
    assert part.elsewhere == {"boss", "ant.1", "bee"}
    assert here(part_of(planned(KEPT), but=["ant.2-"])) == ["boss", "ant.1", "bee", "clerk"]


def test_numbers_that_are_no_more_are_passed_over_where_that_is_asked_for() -> None:
    assert here(part_of(planned(KEPT), only=["ant.2-5"], strict=False)) == ["ant.2"]
    with pytest.raises(NoSuchPart, match=r"nothing is left to run here: there is none of 'ant\.4-5' now"):
        part_of(planned(KEPT), only=["ant.4-5"], strict=False)


def test_both_wishes_of_two_runs_come_to_the_whole_plan() -> None:
    plan = planned(KEPT)
    halves = [part_of(plan, only=["clerk"]), part_of(plan, but=["clerk"])]
    assert sorted(peer for half in halves for peer in here(half)) == sorted(here(plan))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"only": ["ant"], "but": ["bee"]}, "--only and --except say the same in two ways; give one of them"),
        ({"only": ["amt"]}, "--only: there is no agent 'amt' (did you mean 'ant'?)"),
        ({"but": ["x"]}, "--except: there is no agent 'x'; there are 'boss', 'ant', 'bee', 'scribe' and 'clerk'"),
        (
            {"only": ["ant.3"]},
            "--only: there is no ant.3: 'ant' has ant.1 to ant.2, and 'replicas' in the file says so",
        ),
        (
            {"only": ["bee", "scribe"]},
            (
                "--only: 'scribe' is external, so no run starts it: give it a token by `orchestrator token`, or take "
                "'external: true' out"
            ),
        ),
        (
            {"but": ["boss", "ant", "bee", "clerk"]},
            "nothing is left to run here: every agent that is started by a run is excepted",
        ),
        ({"hub": "local"}, "--hub: expected a URL that begins with ws:// or wss://, found 'local'"),
        ({"hub": "http://h"}, "--hub: expected a URL that begins with ws:// or wss://, found 'http://h'"),
        (
            {"hub": "ws://me:secret@h"},
            "--hub: the URL of a hub holds no user, no '?' and no '#'; the credential goes under 'key'",
        ),
    ],
)
def test_a_part_that_cannot_be_run_is_told(options: dict[str, object], sentence: str) -> None:
    assert refused(KEPT, **options) == sentence


def test_every_wrong_name_is_told_at_once() -> None:
    assert len(refused(KEPT, only=["amt", "beee", "scribe"]).splitlines()) == 3


class TestHub:
    def test_its_url_replaces_that_of_the_file(self) -> None:
        part = part_of(planned(KEPT), hub=HUB)
        assert part.hub.url == HUB
        assert part.hub._replace(url=None) == planned(KEPT).hub

    def test_without_a_key_nobody_could_be_given_a_token(self) -> None:
        sentence = refused(DESK, hub=HUB)
        assert sentence.startswith(f"--hub: tokens for {HUB} are made from the key that its hub checks them with")
        assert "`orchestrator keys new`" in sentence


class TestStore:
    def test_it_is_where_everybody_is_who_needs_it(self) -> None:
        for part in (part_of(planned(KEPT), hub=HUB), part_of(planned(KEPT), only=["boss", "ant"], hub=HUB)):
            assert part.store == planned(KEPT).store is not None

    def test_there_is_none_where_nobody_needs_it(self) -> None:
        assert part_of(planned(KEPT), only=["bee", "clerk"], hub=HUB).store is None

    def test_a_run_that_starts_the_hub_keeps_it(self) -> None:
        assert part_of(planned(KEPT), only=["clerk"]).store == planned(KEPT).store

    @pytest.mark.parametrize(("only", "here", "there"), [("boss", "boss", "ant"), ("ant", "ant", "boss")])
    def test_a_caller_and_its_worker_cannot_be_parted_by_it(self, only: str, here: str, there: str) -> None:
        assert refused(KEPT, only=[only], hub=HUB).startswith(
            f"{here!r} shares tasks or claims with {there!r}, which is run elsewhere, and this file keeps those in a store"
        )

    def test_nor_in_a_file_whose_hub_runs_already(self) -> None:
        text = KEPT.replace("hub: {", f"hub: {{url: '{HUB}', ")
        assert "'boss' shares tasks or claims with 'ant'" in refused(text, only=["boss"])
        assert part_of(planned(text), but=["boss", "ant"]).store is None

    def test_members_of_a_team_with_strong_claims_cannot_be_parted_by_it(self) -> None:
        assert "'a' shares tasks or claims with 'b'" in refused(STRONG, but=["b"], hub=HUB)
        assert here(part_of(planned(STRONG), only=["c"], hub=HUB)) == ["c"]

    def test_replicas_of_one_agent_cannot_be_parted_by_it_either(self) -> None:
        sentence = refused(KEPT, only=["ant.1"], hub=HUB)
        assert sentence.startswith(
            "'ant' shares tasks or claims with replicas of it that run elsewhere, and with 'boss'"
        )

    def test_nor_can_anybody_at_hubs_that_a_backplane_joins(self) -> None:
        text = KEPT.replace("hub: {", "hub: {backplane: 'nats://broker', ")
        assert "'boss' shares tasks or claims with 'ant'" in refused(text, only=["boss"])
        assert part_of(planned(text)).store == planned(text).store is not None
        assert part_of(planned(text), only=["bee"]).store is None

    def test_the_run_that_starts_the_hub_may_be_a_part_all_the_same(self) -> None:
        assert here(part_of(planned(STRONG), only=["a"])) == ["a"]

    def test_one_that_everybody_reaches_parts_nobody(self) -> None:
        text = STRONG.replace("sqlite:///s.db", "nats://h:4222")
        assert part_of(planned(text), only=["a"], hub=HUB).store == "nats://h:4222"


def test_everybody_who_is_listed_anywhere_has_a_channel_to_be_seen_on() -> None:
    plan = planned(
        "version: 1\ncoordinators:\n  boss: {handler: app:Boss, workers: [ant, bee]}\nworkers:\n"
        "  ant: {handler: app:Ant, replicas: 2}\n  bee: {command: [bee], handles: [Sting]}\n"
        "agents:\n  guest: {handler: app:Guest}\n  member: {handler: app:Member}\n  alone: {handler: app:Alone}\n"
        "teams:\n  t: {members: [member]}\npresence:\n  hall: {members: [guest], watchers: [alone]}\n"
    )
    assert {replica.peer_id: presence_channel(replica) for replica in plan.replicas} == {
        "boss": None,
        "ant.1": "pools/ant",
        "ant.2": "pools/ant",
        "bee": "tasks/bee",
        "guest": "lobbies/hall",
        "member": "teams/t/state",
        "alone": None,
    }
