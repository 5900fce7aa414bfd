"""The dashboard in a browser, against a hub and peers that are all as they are in use."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.patterns.stream import ACK_EVERY
from orchestrator.protocol.dashboard import LogUpdate, ReplayOutline, ReplicaUpdate, RunUpdate
from orchestrator.protocol.payloads import Failure
from orchestrator.protocol.tokens import Grants
from tests.page.desk import (
    LOBBY,
    Desk,
    dashboard_token,
    desk_without_run,
    outline,
    some_load,
    some_tasks,
    token,
)

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

    from tests.page.browsers import Pages

WORDS = [f"word{number} " for number in range(60)]


async def ask(page: Page, desk: Desk, prompt: str) -> str:
    """Ask the lead, and return the id that it knows the question by."""
    await page.wait_for_selector("#chat option[value=lead]", state="attached")  # before, there is nobody to ask
    await page.fill(".prompt", prompt)
    await page.press(".prompt", "Enter")
    async with asyncio.timeout(5):
        task, asked = await desk.agents["lead"].asked.get()
    assert asked == prompt
    return task


async def text_is(page: Page, selector: str, text: str) -> None:
    await page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.textContent === text", arg=[selector, text]
    )


async def has_rows(page: Page, rows: str, count: int) -> None:
    await page.wait_for_function(
        "([rows, count]) => document.querySelector(rows).getAttribute('aria-rowcount') === String(count)",
        arg=[f"{rows} .rows", count],
    )


# -- signing in


async def test_a_pasted_token_signs_in(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    await text_is(shown, "#run-name", "newsroom")
    assert await shown.text_content("#who") == "cli/dashboard-1"


async def test_what_is_no_token_is_said_to_be_none(page: Pages, desk: Desk) -> None:
    shown = await page.open(desk.url)
    await shown.fill("#token", "sk_id_" + "a:b")
    await shown.click("#sign-in-form button")
    assert "a key, not a token" in (await shown.text_content("#sign-in-why") or "")


@pytest.mark.bars
async def test_a_token_of_another_key_is_refused(page: Pages, desk: Desk) -> None:
    shown = await page.open(desk.url)
    head, body, _ = dashboard_token().split(".")
    await shown.fill("#token", ".".join((head, body, "A" * 43)))
    await shown.click("#sign-in-form button")
    await text_is(shown, "#sign-in-why", "The hub does not accept this token.")


async def test_a_reload_keeps_the_token_and_signing_out_forgets_it(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    await shown.reload()
    await shown.wait_for_selector('#connection[data-state="connected"]')
    await shown.click("#sign-out")
    await text_is(shown, "#sign-in-why", "You are signed out.")
    assert await shown.evaluate("sessionStorage.getItem('orchestrator.token')") is None


async def test_the_code_of_a_link_leaves_the_address_and_signs_in(page: Pages, desk: Desk) -> None:
    bodies: list[Any] = []
    shown = await page.blank(desk.url.split("/")[2])
    await shown.route("**/session", session_of(bodies, 600))
    await shown.goto(desk.url + "#code=once-only")
    await shown.wait_for_selector('#connection[data-state="connected"]')
    assert bodies == [({"code": "once-only"}, None)]
    assert "once-only" not in shown.url
    assert "once-only" not in await shown.evaluate("JSON.stringify(sessionStorage) + location.href")


def session_of(bodies: list[Any], *lives: float) -> Any:
    """Answer as a hub does whose run gives out tokens that live for so many seconds, one after the other."""
    left = list(lives)

    async def answer(route: Route) -> None:
        authorization = await route.request.header_value("authorization")
        bodies.append((json.loads(route.request.post_data or "{}"), authorization))
        if not left:
            await route.fulfill(status=401, json={"error": "unauthorized", "message": "no more"})
            return
        await route.fulfill(
            json={"token": dashboard_token(life=left.pop(0)), "expiresAt": 0, "peerId": "cli/dashboard-1"}
        )

    return answer


LATE = """
    window.late = [];
    const soon = window.setTimeout;
    window.setTimeout = (call, delay, ...more) =>
        delay > 100_000 ? (window.late.push([call, delay]), 0) : soon.call(window, call, delay, ...more);
"""
"""Keeps what is to be done in some minutes, for whoever does not wait so long."""


async def test_a_token_is_renewed_before_it_expires_and_nobody_notices(page: Pages, desk: Desk) -> None:
    bodies: list[Any] = []
    shown = await page.blank(desk.url.split("/")[2])
    await shown.route("**/session", session_of(bodies, 600, 900))
    await shown.add_init_script(LATE)
    await shown.goto(desk.url)
    task = await ask(shown, desk, "renewed in between")
    await desk.agents["lead"].say(task, "before ")
    watching = len(desk.run.watchers)
    await shown.click("#lower-tabs [data-view=log]")
    await shown.select_option("#log select >> nth=0", "0")
    [seconds] = await shown.evaluate("late.map(([, delay]) => delay / 1000)")
    assert 400 < seconds < 590, "in time, and not at once"
    await shown.evaluate("late[0][0]()")
    await shown.wait_for_selector(".log-rows .row:has-text('continued under a fresh token')")
    await desk.agents["lead"].say(task, "after", done=True)
    await text_is(shown, ".answer", "before after")
    (body, nothing), (again, bearer) = bodies
    assert (body, nothing, again) == ({}, None, {})
    assert bearer.startswith("Bearer eyJ")
    assert len(desk.run.watchers) == watching, "a connection that is continued watches nothing anew"
    assert await shown.locator(".log-rows .row:has-text('connection:')").count() == 0


# -- who is here


async def test_agents_appear_and_leave(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    for number in (1, 2, 3):
        await shown.wait_for_selector(f'[data-peer="helper.{number}"][data-state="ready"]')
    assert await shown.locator("[data-agent=helper] .chip").all_text_contents() == ["web", "pdf"]
    await desk.leave("helper.2")
    await desk.run.update(replicas=(ReplicaUpdate("helper.2", "helper", "failed", restarts=1, detail="exited with 1"),))
    await shown.wait_for_selector('[data-peer="helper.2"][data-state="failed"]')
    await text_is(shown, "[data-agent=helper] .ready", "2/3")
    await shown.click("#lower-tabs [data-view=log]")
    await shown.wait_for_selector(".log-rows .row:has-text('helper.2'):has-text('left')")


@pytest.mark.bars
async def test_presence_alone_shows_who_is_here(page: Pages, browser: object) -> None:
    async with desk_without_run() as desk:
        await desk.arrive("solo", "solo", capabilities=("sing",))
        shown = await desk.sign_in(
            page,
            token("reader/ann", grants=Grants(observe=(LOBBY,), send=("solo",)), metadata={"asks": {"solo": ["solo"]}}),
        )
        await shown.wait_for_selector('[data-peer="solo"][data-state="online"]')
        await desk.leave("solo")
        await shown.wait_for_selector('[data-peer="solo"][data-state="absent"]')


async def test_a_token_with_few_scopes_sees_what_it_may(page: Pages, desk: Desk) -> None:
    few = token("reader/ann", grants=Grants(send=("lead",)), metadata={"asks": {"lead": ["lead"]}})
    shown = await desk.sign_in(page, few)
    assert await shown.locator("#chat select option").all_text_contents() == ["lead"]
    task = await ask(shown, desk, "may I?")
    await desk.agents["lead"].say(task, "you may", done=True)
    await text_is(shown, ".answer", "you may")


@pytest.mark.bars
async def test_a_token_that_may_ask_nobody_says_so(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page, token("reader/bob", grants=Grants(observe=(LOBBY,)), metadata={"asks": {}}))
    await shown.wait_for_selector('[data-peer="lead"]')
    assert await shown.is_disabled(".prompt")


# -- talking


async def test_an_answer_comes_as_it_is_written(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    await shown.wait_for_selector('[data-peer="lead"][data-state="ready"]')
    task = await ask(shown, desk, "tell me")
    for number, word in enumerate(WORDS[:30], 1):
        await desk.agents["lead"].say(task, word)
        await shown.wait_for_function(
            "n => Number(document.querySelector('.answer')?.dataset.updates) >= n", arg=number
        )
    await desk.agents["lead"].say(task, done=True)
    await shown.wait_for_selector(".exchange[data-state=done]")
    assert await shown.text_content(".answer") == "".join(WORDS[:30])
    assert int(await shown.get_attribute(".answer", "data-updates") or 0) >= 20


async def test_chunks_out_of_order_doubled_and_lost_are_put_right(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    lead = desk.agents["lead"]
    task = await ask(shown, desk, "mixed up")
    writer, who = lead.writers[task]
    for word in WORDS[:6]:
        writer.push(json_raw(word))
    chunks = [writer.pending() for _ in range(6)]
    for at in (0, 2, 1, 1, 5):  # 3 and 4 are lost
        await lead.user.send(who, json.loads(encoded(chunks[at])))
    await text_is(shown, ".answer", "".join(WORDS[:6]))
    assert lead.resumed
    await lead.say(task, done=True)
    await shown.wait_for_selector(".exchange[data-state=done]")


def json_raw(value: object) -> Any:
    from msgspec import Raw

    return Raw(encoded(value))


def encoded(value: object) -> bytes:
    import msgspec

    return msgspec.json.encode(value)


@pytest.mark.bars
async def test_a_reader_says_what_it_has(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    lead = desk.agents["lead"]
    task = await ask(shown, desk, "at length")
    await lead.say(task, WORDS[0])
    async with asyncio.timeout(5):
        await lead.acknowledged.wait()
        for word in WORDS[1:]:
            await lead.say(task, word)
        while lead.writers[task][0].kept_bytes > len(encoded("".join(WORDS))) - ACK_EVERY:
            lead.acknowledged.clear()
            await lead.acknowledged.wait()
    assert lead.writers[task][0].takes_many


async def test_an_answer_is_cancelled(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    task = await ask(shown, desk, "endless")
    await desk.agents["lead"].say(task, "on and on")
    await shown.wait_for_selector(".exchange[data-state=answering]")
    await shown.click("#chat .stop")
    async with asyncio.timeout(5):
        assert await desk.agents["lead"].cancelled.get() == task
    await text_is(shown, ".note", "cancelled")
    assert await shown.text_content(".answer") == "on and on"


async def test_an_answer_goes_on_after_the_connection_was_lost(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    lead = desk.agents["lead"]
    task = await ask(shown, desk, "through a drop")
    await lead.say(task, *WORDS[:10])
    await shown.wait_for_function("() => document.querySelector('.answer').textContent.includes('word9 ')")
    desk.proxy.refuse()
    desk.proxy.cut()
    await shown.wait_for_selector('#connection[data-state="reconnecting"]')
    await lead.say(task, *WORDS[10:40])
    desk.proxy.accept()
    await shown.wait_for_selector('#connection[data-state="connected"]')
    await lead.say(task, *WORDS[40:], done=True)
    await shown.wait_for_selector(".exchange[data-state=done]")
    assert await shown.text_content(".answer") == "".join(WORDS)
    assert 10 in lead.resumed


@pytest.mark.bars
async def test_a_question_that_fails_says_why(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    task = await ask(shown, desk, "fail")
    await desk.agents["lead"].say(task, "so f", failure=Failure("ValueError", "no such <b>topic</b>"))
    await text_is(shown, ".note", "ValueError: no such <b>topic</b>")


async def test_nobody_there_is_said_at_once(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    await desk.leave("lead")
    await shown.wait_for_selector("#chat option[value=lead]", state="attached")
    await shown.fill(".prompt", "anybody?")
    await shown.press(".prompt", "Enter")
    await text_is(shown, ".note", "Nobody who is “lead” can be reached now.")


@pytest.mark.bars
async def test_each_agent_has_a_conversation_that_is_kept(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    task = await ask(shown, desk, "to the lead")
    await shown.click("[data-agent=helper] .agent-name")
    await shown.fill(".prompt", "to a helper")
    await shown.press(".prompt", "Enter")
    await desk.agents["lead"].say(task, "meanwhile", done=True)
    await text_is(shown, ".question", "to a helper")
    await shown.click(".conversations .chip:has-text('lead')")
    await text_is(shown, ".answer", "meanwhile")


# -- tasks


KEPT = {
    "id": "k-1",
    "queue": "helper",
    "type": "Research",
    "state": "dead",
    "attempt": 4,
    "maxAttempts": 4,
    "due": 0,
    "created": 1_790_000_000,
    "origin": "lead",
    "error": "ValueError: no source",
}
ATTEMPTS = [
    {
        "number": 1,
        "began": 1.0,
        "ended": 2.5,
        "outcome": "failed",
        "error": {"type": "ValueError", "message": "no source", "frames": ["research.py:41 in research"]},
    }
]


def keep_one_task(desk: Desk) -> None:
    desk.run.answers |= {
        "tasks": lambda given: {"tasks": [KEPT], "counts": {"dead": 1, "done": 1_200}},
        "task": lambda given: {**KEPT, "payload": {"topic": "reefs"}, "attempts": ATTEMPTS},
        "retry": lambda given: {"retried": given["ids"]},
        "cancel": lambda given: {},
    }


async def test_a_failed_task_is_opened_and_retried(page: Pages, desk: Desk) -> None:
    keep_one_task(desk)
    shown = await desk.sign_in(page)
    await shown.click('.row[data-task="k-1"]')
    await shown.wait_for_selector(".attempt .failure")
    assert await shown.text_content(".attempt .failure") == "ValueError: no source"
    assert "research.py:41" in (await shown.text_content(".attempts") or "")
    await shown.click(".retry")
    assert await desk.run.requested("retry") == {"ids": ["k-1"]}
    await shown.wait_for_selector(".notice.good")
    await shown.keyboard.press("Escape")
    assert await shown.is_hidden("#tasks .detail")


async def test_who_may_change_nothing_can_look(page: Pages, desk: Desk) -> None:
    keep_one_task(desk)
    await desk.run.tell(outline(admin=False))
    desk.run.outline = outline(admin=False)
    shown = await desk.sign_in(page)
    await shown.click('.row[data-task="k-1"]')
    await shown.wait_for_selector(".attempts")
    assert await shown.is_disabled(".retry")
    assert await shown.is_disabled("#tasks .detail .cancel")


async def test_tasks_that_nobody_keeps_are_told_by_updates_and_filtered(page: Pages, desk: Desk) -> None:
    desk.run.outline = outline(keeps_tasks=False)
    shown = await desk.sign_in(page)
    await shown.wait_for_selector('[data-peer="lead"][data-state="ready"]')
    await desk.run.update(tasks=some_tasks(), load=some_load())
    await has_rows(shown, ".task-rows", 2)
    await shown.click(".groups-bar [data-group=dead]")
    await has_rows(shown, ".task-rows", 1)
    assert "no such topic" in (await shown.text_content(".task-rows .row[data-task=t-2]") or "")
    await shown.click(".groups-bar [data-group='']")
    await shown.fill("#tasks .filter", "t-1")
    await has_rows(shown, ".task-rows", 1)


# -- the log


def lines(count: int, start: int = 0) -> tuple[LogUpdate, ...]:
    levels = ("info", "warning", "error", "debug")
    return tuple(
        LogUpdate(f"helper.{n % 3 + 1}", time.time(), levels[n % 4], f"line {n}", "helper" if n % 2 else "lead")
        for n in range(start, start + count)
    )


async def test_the_log_is_filtered_paused_and_bounded(page: Pages, desk: Desk) -> None:
    desk.run.log = list(lines(40))
    shown = await desk.sign_in(page)
    await shown.click("#lower-tabs [data-view=log]")
    await shown.wait_for_selector(".log-rows .row:has-text('line 38')")
    await shown.fill("#log .filter", "line")
    await has_rows(shown, ".log-rows", 30)  # none of those of debug
    await shown.select_option("#log select >> nth=0", "2")
    await has_rows(shown, ".log-rows", 20)
    await shown.select_option("#log select >> nth=1", "lead")
    await has_rows(shown, ".log-rows", 10)
    await shown.select_option("#log select >> nth=1", "")
    await shown.select_option("#log select >> nth=0", "0")
    await shown.click("text=Pause")
    await desk.run.update(log=lines(500, 40))
    await text_is(shown, "#log .count", "paused, 500 new")
    await shown.click("text=Go on")
    await has_rows(shown, ".log-rows", 540)
    for start in range(540, 3_540, 500):
        await desk.run.update(log=lines(500, start))
    await shown.wait_for_selector(".log-rows .row:has-text('line 3539')")
    await has_rows(shown, ".log-rows", 2_000)
    assert await shown.locator(".log-rows .rows .row").count() < 100


@pytest.mark.bars
async def test_a_line_is_opened_with_what_belongs_to_it(page: Pages, desk: Desk) -> None:
    desk.run.log = [
        LogUpdate(
            "lead",
            time.time(),
            "error",
            "it broke",
            "lead",
            {"topic": "reefs"},
            "Traceback: <img src=x onerror=alert(1)>",
        )
    ]
    shown = await desk.sign_in(page)
    await shown.click("#lower-tabs [data-view=log]")
    await shown.click(".log-rows .row:has-text('it broke')")
    detail = await shown.text_content("#log .detail") or ""
    assert "<img src=x onerror=alert(1)>" in detail
    assert '"topic": "reefs"' in detail


# -- the page itself


async def test_a_large_outline_comes_in_parts(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    await shown.wait_for_selector('[data-peer="lead"][data-state="ready"]')
    many = tuple(ReplicaUpdate(f"helper.{n}", "helper", "ready", detail="x" * 150) for n in range(500))
    await desk.run.tell(RunUpdate(time.time(), replicas=many))
    await desk.run.tell(outline(name="large", agents=tuple(many_agents())))
    await text_is(shown, "#run-name", "large")
    assert await shown.locator("#agents .group").count() == 502  # with those who are there and in no outline


def many_agents() -> Any:
    from orchestrator.protocol.dashboard import AgentOutline

    for number in range(500):
        yield AgentOutline(
            f"agent{number}", f"Agent {number}", "worker", (f"agent{number}",), ("a-long-capability" * 5,)
        )


async def test_a_replay_has_a_bar_and_a_run_has_none(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    await text_is(shown, "#run-name", "newsroom")
    assert await shown.is_hidden("#replay")
    desk.run.answers["play"] = lambda given: {}
    await desk.run.tell(outline(replay=ReplayOutline(1_790_000_000.0, 60.0)))
    await desk.run.update(position=12.5)
    await shown.wait_for_function("() => document.querySelector('#replay input').value === '12.5'")
    await shown.click("#replay button")
    assert await desk.run.requested("play") == {"paused": True}
    await shown.select_option("#replay select", "10")
    assert await desk.run.requested("play") == {"speed": 10}


async def test_all_of_it_goes_by_the_keyboard(page: Pages, desk: Desk) -> None:
    keep_one_task(desk)
    shown = await page.open(desk.url)
    await shown.wait_for_selector("#token:focus")
    await shown.keyboard.insert_text(dashboard_token())
    await shown.keyboard.press("Enter")
    await shown.wait_for_selector('.row[data-task="k-1"]')
    await shown.keyboard.press("/")
    await shown.wait_for_selector("#tasks .filter:focus")
    await shown.keyboard.press("Escape")
    await shown.focus("#tasks .rows")
    await shown.keyboard.press("ArrowDown")
    await shown.wait_for_selector('.row.active[data-task="k-1"]')
    await shown.keyboard.press("Enter")
    await shown.wait_for_selector("#tasks .detail .close:focus")
    await shown.keyboard.press("Escape")
    await shown.wait_for_selector("#tasks .rows:focus")
    await shown.focus("[data-agent=lead] .agent-name")
    await shown.keyboard.press("Enter")
    await shown.wait_for_selector(".prompt:focus")


async def test_nothing_is_wider_than_a_phone(page: Pages, desk: Desk) -> None:
    keep_one_task(desk)
    desk.run.outline = outline(name="n" * 300)
    desk.run.log = [LogUpdate("s" * 200, time.time(), "error", "e" * 5_000, "lead")]
    shown = await desk.sign_in(page, width=375, height=700)
    await shown.wait_for_function("() => document.getElementById('run-name').textContent.startsWith('nnn')")
    for view in ("map", "agents", "chat", "tasks", "log"):
        await shown.click(f"#bottom-tabs [data-view={view}]")
        await shown.wait_for_selector(f"#{view} >> visible=true")
        assert await shown.evaluate("document.documentElement.scrollWidth") == 375, view
        assert await shown.evaluate(WIDER) == [], view


WIDER = """[...document.querySelectorAll('#top > *, main .view > *')]
    .filter((each) => each.offsetParent && each.getBoundingClientRect().right > 375).map((each) => each.className)"""


@pytest.mark.bars
async def test_the_theme_is_chosen_and_kept(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page, color_scheme="dark")
    dark = await shown.evaluate("getComputedStyle(document.body).backgroundColor")
    await shown.click("#theme")
    light = await shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    await shown.reload()
    await shown.wait_for_selector('#connection[data-state="connected"]')
    assert await shown.evaluate("getComputedStyle(document.body).backgroundColor") == light
