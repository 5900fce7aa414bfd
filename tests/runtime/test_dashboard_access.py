"""Who gets a token for a run's dashboard, and how its hub asks for that."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest
from aiohttp import ClientSession
from websockets.asyncio.client import connect

from orchestrator.hub.listening import listen, parse_address
from orchestrator.hub.sign_in import Denied, Granted, Unanswered, Wish
from orchestrator.protocol.tokens import Claims, SecretKey, mint, verify
from orchestrator.runtime import hub_questions
from orchestrator.runtime.control import (
    MetricsTold,
    MetricsWanted,
    ReplicaFigures,
    SignedIn,
    SignIn,
    encode_control,
)
from orchestrator.runtime.dashboard_access import CODE_LIFE, MAX_CODES, TOKEN_LIFE, DashboardAccess
from orchestrator.runtime.hub_questions import MAX_PENDING, HubQuestions
from orchestrator.runtime.told_metrics import told_metrics
from orchestrator.topology.operator import operator_claims
from tests.hub.supervised import KEY, origin, start
from tests.runtime.plans import planned

PLAN = planned()


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0


def access(clock: Clock | None = None) -> DashboardAccess:
    standing, numbers = clock or Clock(), itertools.count(1)
    return DashboardAccess(KEY, PLAN, lambda: standing.now, lambda: f"{next(numbers):08}{'x' * 24}")


def claims_of(answer: SignedIn, clock: Clock) -> Claims:
    return verify(answer.token, {KEY.id: KEY}, clock.now)[1]


def test_whoever_is_local_is_signed_in_as_the_built_in_user_with_a_peer_id_and_an_instance_of_its_own() -> None:
    clock = Clock()
    desk = access(clock)
    answers = [desk.answer(SignIn(7, local=True)), desk.answer(SignIn(8, local=True))]
    first, second = (claims_of(answer, clock) for answer in answers)
    assert (answers[0].request, answers[0].expires_at) == (7, first.exp) == (7, int(clock.now) + TOKEN_LIFE)
    assert first.sub.startswith("cli/dashboard-") and first.instance
    assert first.sub != second.sub and first.instance != second.instance
    sub = first.sub.removeprefix("cli/")
    assert first == operator_claims(PLAN, sub, first.exp, first.instance)


def test_a_code_is_good_once() -> None:
    clock = Clock()
    desk = access(clock)
    code, other = desk.new_code(), desk.new_code()
    assert not desk.answer(SignIn(1, code=code + "x")).token
    assert not desk.answer(SignIn(1, code=code[:-1])).token
    assert claims_of(desk.answer(SignIn(1, code=code)), clock).instance
    again = desk.answer(SignIn(1, code=code))
    assert not again.token and "one use" in again.refusal
    assert desk.answer(SignIn(1, code=other)).token


def test_a_code_is_good_for_ten_minutes() -> None:
    clock = Clock()
    desk = access(clock)
    early, late = desk.new_code(), desk.new_code()
    clock.now += CODE_LIFE - 1
    assert desk.answer(SignIn(1, code=early)).token
    clock.now += 1
    assert not desk.answer(SignIn(1, code=late)).token


def test_of_more_codes_than_are_kept_the_oldest_are_not_good_any_more() -> None:
    desk = access()
    codes = [desk.new_code() for _ in range(MAX_CODES + 1)]
    assert not desk.answer(SignIn(1, code=codes[0])).token
    assert all(desk.answer(SignIn(1, code=code)).token for code in codes[1:])


def test_a_code_of_any_text_is_only_wrong() -> None:
    desk = access()
    desk.new_code()
    for code in ("\ud800", "é" * 9, "\0", "x" * 100_000):
        assert desk.answer(SignIn(1, code=code)).refusal


def test_a_token_is_renewed_for_the_same_peer_and_instance() -> None:
    clock = Clock()
    desk = access(clock)
    first = desk.answer(SignIn(1, local=True))
    clock.now += TOKEN_LIFE - 1
    second = desk.answer(SignIn(2, token=first.token))
    before, after = verify(first.token, {KEY.id: KEY}, clock.now)[1], claims_of(second, clock)
    assert (after.sub, after.instance) == (before.sub, before.instance)
    assert second.expires_at == after.exp == before.exp + TOKEN_LIFE - 1


def test_what_was_not_given_to_a_dashboard_of_this_run_is_not_renewed() -> None:
    clock = Clock()
    desk = access(clock)
    exp, other = int(clock.now) + 600, SecretKey(KEY.id, "sk_secret_" + "o" * 32)
    refused = [
        mint(other, operator_claims(PLAN, "dashboard-1", exp, "i")),
        mint(KEY, operator_claims(PLAN, "somebody", exp, "i")),
        mint(KEY, Claims("cli/dashboard-1", exp)),
        mint(KEY, Claims("boss", exp, instance="i")),
        mint(KEY, Claims("cli/dashboard-1/2", exp, instance="i")),
        mint(KEY, operator_claims(PLAN, "dashboard-1", int(clock.now), "i")),
        "nonsense",
    ]
    for token in refused:
        answer = desk.answer(SignIn(1, token=token, local=True, code=desk.new_code()))
        assert not answer.token and "cannot be renewed" in answer.refusal
    assert desk.answer(SignIn(1, token=mint(KEY, operator_claims(PLAN, "dashboard-1", exp, "i")))).token


def test_whoever_brings_nothing_gets_nothing() -> None:
    assert access().answer(SignIn(3)) == SignedIn(3, refusal="nothing was given to sign in with")


def test_no_message_shows_what_it_holds() -> None:
    desk = access()
    code, token = desk.new_code(), desk.answer(SignIn(1, local=True)).token
    for shown in (SignIn(1, code, token), SignedIn(1, token), Wish(code, token), Granted(token, 1, "p")):
        assert code not in repr(shown) and token not in repr(shown)


# -- how a hub asks


def questions(told: asyncio.Queue[Any]) -> HubQuestions:
    return HubQuestions(told.put_nowait, {KEY.id: KEY}, time.time)


async def test_questions_that_cross_get_their_own_answers() -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()
    asking = questions(told)
    desk = DashboardAccess(KEY, PLAN, time.time)
    wishes = [Wish(local=True), Wish(code="wrong"), Wish(code=desk.new_code())]
    tasks = [asyncio.create_task(asking.sign_in(wish)) for wish in wishes]
    figures = asyncio.create_task(asking.figures())
    for question in reversed([await told.get() for _ in range(4)]):
        figured = (ReplicaFigures("boss", "boss"),)
        is_wish = isinstance(question, SignIn)
        asking.answered(desk.answer(question) if is_wish else MetricsTold(question.request, figured))
    asking.answered(SignedIn(99))
    local, wrong, linked = await asyncio.gather(*tasks)
    assert isinstance(local, Granted) and local.peer_id.startswith("cli/dashboard-")
    assert isinstance(wrong, Denied) and isinstance(linked, Granted)
    assert (await figures) == (ReplicaFigures("boss", "boss"),)
    assert asking._pending == {}


async def test_a_parent_that_does_not_answer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_questions, "SIGN_IN_PATIENCE", 0.01)
    monkeypatch.setattr(hub_questions, "METRICS_PATIENCE", 0.01)
    asking = questions(asyncio.Queue())
    with pytest.raises(Unanswered):
        await asking.sign_in(Wish(local=True))
    assert await asking.figures() is None
    assert asking._pending == {}


async def test_no_more_questions_wait_than_may() -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()
    asking = questions(told)
    waiting = [asyncio.create_task(asking.figures()) for _ in range(MAX_PENDING)]
    for _ in range(MAX_PENDING):
        await told.get()
    with pytest.raises(Unanswered):
        await asking.sign_in(Wish(local=True))
    assert told.empty()
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_a_token_that_opens_nothing_at_the_hub_is_handed_to_nobody() -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()
    asking = questions(told)
    other = DashboardAccess(SecretKey("sk_id_x", "sk_secret_" + "x" * 32), PLAN, time.time)
    task = asyncio.create_task(asking.sign_in(Wish(local=True)))
    asking.answered(other.answer(await told.get()))
    with pytest.raises(Unanswered):
        await task


def test_what_a_run_of_any_size_tells_fits_into_one_message() -> None:
    counts = {f"tasks/{'t' * 150}{number}/done": 1 for number in range(300)}
    figures = [ReplicaFigures(f"agent{number % 1_000}", f"p{number}", counts=counts) for number in range(2_000)]
    told = told_metrics(1, figures)
    assert len(encode_control(told)) < 1_000_000
    assert sum(sum(one.counts.values()) for one in told.replicas) == 2_000 * 300


async def test_a_hub_process_signs_in_whom_its_parent_lets_in_and_that_token_connects() -> None:
    desk = DashboardAccess(KEY, PLAN, time.time)
    with listen(parse_address("127.0.0.1:0")) as listening:
        child = await start(listening)

        async def parent() -> None:
            async for message in child.control:
                match message:
                    case SignIn():
                        child.control.send(desk.answer(message))
                    case MetricsWanted(request=request):
                        figures = ReplicaFigures("helper", "helper.1", inflight=3, counts={"tasks/Look/done": 41})
                        child.control.send(told_metrics(request, [figures]))

        answering = asyncio.create_task(parent())
        try:
            async with asyncio.timeout(20), ClientSession() as session:
                base = origin(listening).replace("ws://", "http://")
                async with session.post(f"{base}/session", json={}) as answer:
                    local = await answer.json()
                assert answer.status == 200
                async with connect(f"{origin(listening)}/v1?token={local['token']}") as client:
                    assert f'"{local["peerId"]}"' in str(await client.recv())
                renewing = {"Authorization": f"Bearer {local['token']}"}
                async with session.post(f"{base}/session", json={}, headers=renewing) as answer:
                    assert (await answer.json())["peerId"] == local["peerId"]
                async with session.post(f"{base}/session", json={"code": desk.new_code()}) as answer:
                    assert (await answer.json())["peerId"] != local["peerId"]
                async with session.post(f"{base}/session", json={"code": "wrong"}) as answer:
                    assert answer.status == 401
                async with session.get(f"{base}/metrics") as answer:
                    text = await answer.text()
                assert 'orchestrator_tasks_total{agent="helper",outcome="done",task="Look"} 41.0' in text
                assert "orchestrator_run_answers 1.0" in text
                assert 'orchestrator_refusals_total{cause="code"} 1.0' in text
        finally:
            answering.cancel()
            child.kill()
            await child.wait()
            await child.close()
