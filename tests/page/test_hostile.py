"""Texts that pages have tripped over, in every field of the dashboard: they are shown, and that is all that they do."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import pytest

from orchestrator.protocol.dashboard import (
    AgentLoad,
    AgentOutline,
    LobbyOutline,
    LogUpdate,
    ReplicaUpdate,
    TaskUpdate,
    TeamOutline,
    UserOutline,
)
from orchestrator.protocol.payloads import Failure
from orchestrator.protocol.tokens import Grants
from tests.page.desk import Desk, dashboard_token, desk_without_run, outline
from tests.page.hostile_strings import HOSTILE, printable, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.async_api import Page

    from tests.page.browsers import Pages

TALKER: Final = "talker"
TASK: Final = "task-of-all"
WATCH: Final = """
window.called = [];
window.canary = (...given) => window.called.push(given);
document.addEventListener("securitypolicyviolation", (event) => window.called.push([event.violatedDirective, event.blockedURI]));
"""
BOXES: Final = """
() => Object.fromEntries(["#top", "#agents", "#map", "#lower-tabs", "#chat"].map((id) => {
  const { x, y, width, height } = document.querySelector(id).getBoundingClientRect();
  return [id, [x, y, width, height].map(Math.round)];
}))
"""
FOREIGN: Final = """
() => {
  const ours = { SCRIPT: 1, META: 3, FORM: 2, TITLE: 1, TEXTAREA: 2, NOSCRIPT: 1 };
  const never = ["STYLE", "IFRAME", "OBJECT", "EMBED", "BASE", "MATH", "TEMPLATE", "MACTION", "ANIMATE", "DETAILS", "FRAME", "TABLE"];
  const found = new Map();
  for (const each of document.querySelectorAll("*")) found.set(each.tagName.toUpperCase(), (found.get(each.tagName.toUpperCase()) ?? 0) + 1);
  const strange = [...found].filter(([tag, count]) => never.includes(tag) || count > (ours[tag] ?? Infinity));
  const ourFile = (address) => address.startsWith(`${location.origin}/page/`);
  const images = [...document.images].filter((each) => !ourFile(each.src)).length;
  const links = [...document.querySelectorAll("link, a[href]")].filter((each) => !ourFile(each.href)).length;
  const handlers = [...document.querySelectorAll("*")].filter((each) => [...each.attributes].some((one) => /^on|^style$/.test(one.name) && /canary|198|fixed/.test(one.value))).length;
  const polluted = Object.keys(Object.prototype).length;
  return { strange, images, links, handlers, polluted };
}
"""
"""What is on the page that our files do not put there."""


class Said(KeyError):
    """What the run answers to a request that it refuses."""

    def __str__(self) -> str:
        return str(self.args[0])


def peer_of(number: int, text: str) -> str:
    return f"{number}.{printable(text)}"


def told_of(texts: Sequence[str]) -> dict[str, Any]:
    """Return the parts of an outline of which each text is each name."""
    role = cast("Literal['worker']", texts[0]) if len(texts) == 1 else "worker"
    agents = tuple(
        AgentOutline(text, text, role, (peer_of(n, text), text), (text, text[:20]), workers=(texts[0],), tasks=(text,))
        for n, text in enumerate(texts)
    )
    return {
        "name": texts[0],
        "source": texts[-1],
        "node": "".join(texts)[:70_000],
        "agents": (*agents, AgentOutline(TALKER, "Talker", "coordinator", (TALKER,), workers=tuple(texts))),
        "teams": tuple(TeamOutline(text, f"teams/{n}", (text, TALKER)) for n, text in enumerate(texts)),
        "lobbies": tuple(LobbyOutline(text, f"lobbies/{n}", (text,), watchers=(text,)) for n, text in enumerate(texts)),
        "users": tuple(UserOutline(text, (TALKER, text)) for text in texts),
    }


def news_of(texts: Sequence[str]) -> dict[str, Any]:
    """Return an update in which each text is everything that updates tell."""
    now = time.time()
    return {
        "replicas": tuple(
            ReplicaUpdate(peer_of(n, text), text, text, where=text, detail=text, inflight=n, capacity=4)
            for n, text in enumerate(texts)
        ),
        "flows": tuple((text, TALKER, cast("Literal['ask']", text), 3) for text in texts),
        "load": tuple(AgentLoad(text, 1, 2, 3, 4, 0.5, 0.6) for text in texts),
        "tasks": tuple(
            TaskUpdate(
                f"{n} {text}", text, text, "failed" if n % 2 else cast("Literal['done']", text), now, text, error=text
            )
            for n, text in enumerate(texts)
        ),
        "log": tuple(
            LogUpdate(
                text,
                now,
                text if n % 2 else "error",
                text,
                agent=text,
                fields={text: text},
                exception=text,
                stream=text,
            )
            for n, text in enumerate(texts)
        ),
    }


def kept_task(texts: Sequence[str]) -> dict[str, Any]:
    """Return a task as its store tells of it: all texts are in its attempts."""
    attempts = [
        {
            "number": n,
            "outcome": text,
            "began": n,
            "ended": n + 1,
            "error": {"type": text, "message": text, "frames": [text]},
        }
        for n, text in enumerate(texts)
    ]
    payload = {"texts": list(texts)}
    about = {
        "id": TASK,
        "type": texts[0],
        "queue": texts[-1],
        "state": "dead",
        "created": time.time() + 60,
        "origin": texts[0],
    }
    return {
        **about,
        "attempt": 1,
        "maxAttempts": 4,
        "error": texts[0],
        "attempts": attempts,
        "payload": payload,
        "result": payload,
    }


async def signed_in(desk: Desk, pages: Pages, **claims: Any) -> tuple[Page, list[str]]:
    """Return the page, and what dialogs come to say."""
    page = await pages.blank(desk.url.split("/")[2])
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    await page.add_init_script(WATCH)
    await page.goto(desk.url)
    everything = Grants(observe=("**",), send=("**",), presence=("**",))
    await page.fill("#token", dashboard_token(grants=everything, **claims))
    await page.click("#sign-in-form button[type=submit]")
    await page.wait_for_selector('#connection[data-state="connected"]')
    return page, dialogs


async def nothing_happened(page: Page, dialogs: list[str], boxes: dict[str, list[int]]) -> None:
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert await page.evaluate("window.called") == []
    assert dialogs == []
    found = await page.evaluate(FOREIGN)
    assert found == {"strange": [], "images": 0, "links": 0, "handlers": 0, "polluted": 0}
    assert await page.evaluate(BOXES) == boxes
    assert await page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]


async def look_everywhere(desk: Desk, pages: Pages, texts: Sequence[str]) -> None:
    """Have each of the texts everywhere, look at all of it, and hold that nothing else comes of it."""
    run = await desk.start_run(outline())
    page, dialogs = await signed_in(desk, pages)
    await page.wait_for_selector("#agents [data-agent]")
    boxes = await page.evaluate(BOXES)
    talker = await desk.arrive(TALKER, TALKER, "coordinator")
    await asyncio.gather(
        *(
            desk.arrive(f"p{peer_of(n, text)}", within(text, 1_000), within(text, 500), (within(text, 500),))
            for n, text in enumerate(texts)
        )
    )
    run.answers["tasks"] = lambda _: {"tasks": [kept_task(texts)], "counts": dict.fromkeys(texts, 1)}
    run.answers["task"] = lambda _: kept_task(texts)
    await run.tell(outline(**told_of(texts)), *run.watchers)
    await run.update(whole=True, **news_of(texts))

    await page.wait_for_selector("#tasks [data-task]")
    agents = page.locator("#agents [data-agent]")
    assert await agents.count() >= len(texts)
    await nothing_happened(page, dialogs, boxes)

    await page.click(f'#tasks [data-task="{TASK}"]')
    await page.wait_for_selector("#tasks .detail .attempt")
    assert await page.locator("#tasks .detail .attempt").count() == len(texts)
    await nothing_happened(page, dialogs, boxes)
    for text in texts:
        run.answers["retry"] = _refusing(text)
        await page.evaluate("document.querySelector('#tasks .detail .retry').click()")
        await run.requested("retry")
    await nothing_happened(page, dialogs, boxes)

    await page.click('#lower-tabs [data-view="log"]')
    await page.wait_for_selector("#log .log-rows .row")
    await page.evaluate("[...document.querySelectorAll('#log .log-rows .row:not([hidden])')].at(-1).click()")
    await page.wait_for_selector("#log .detail .event")
    await nothing_happened(page, dialogs, boxes)
    await page.keyboard.press("Escape")
    await page.click('#lower-tabs [data-view="tasks"]')

    await page.select_option("#chat select", TALKER)
    question = "\n".join(("What of", *(within(text, 1_000) for text in texts), "?"))
    await page.fill("#chat textarea", question)
    await page.click("#chat button[type=submit]")
    task, prompt = await asyncio.wait_for(talker.asked.get(), 5)
    assert [line.strip() for line in prompt.split()] == [line.strip() for line in question.split()]
    for text in texts:
        await talker.say(task, *(text[at : at + 8_000] for at in range(0, len(text), 8_000)))
    end = within(texts[0], 10_000)
    await talker.say(task, failure=Failure(end, end, retryable=False))
    await page.wait_for_selector("#chat [data-state=failed]")
    answer = await page.locator("#chat .answer").text_content() or ""
    assert answer.count("canary()") == sum(text.count("canary()") for text in texts)
    await nothing_happened(page, dialogs, boxes)
    await narrow(page)


def _refusing(text: str) -> Any:
    def refuse(_arguments: dict[str, Any]) -> Any:
        raise Said(text)

    return refuse


async def narrow(page: Page) -> None:
    """Hold that no view is wider than a phone."""
    await page.set_viewport_size({"width": 390, "height": 800})
    for view in ("map", "agents", "chat", "tasks", "log"):
        await page.click(f'#bottom-tabs [data-view="{view}"]')
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, f"{view} is {wide} pixels wide"
    assert await page.evaluate("window.called") == []


async def test_sixty_hostile_texts_everywhere_at_once_do_nothing(page: Pages) -> None:
    assert len(HOSTILE) == 60
    async with desk_without_run() as desk:
        await look_everywhere(desk, page, list(HOSTILE.values()))


async def test_hostile_texts_in_the_welcome_do_nothing(page: Pages) -> None:
    texts = [text for text in HOSTILE.values() if len(text) < 100]
    async with desk_without_run() as desk:
        shown, dialogs = await signed_in(
            desk, page, metadata={"asks": {text: [printable(text)] for text in texts}, "x": texts[:5]}
        )
        boxes = await shown.evaluate(BOXES)

        await shown.select_option("#chat select", "constructor")
        await shown.fill("#chat textarea", "hello")
        await shown.click("#chat button[type=submit]")
        await shown.wait_for_selector("#chat [data-state=failed]")

        assert await shown.locator("#chat option").count() == len(texts)
        await nothing_happened(shown, dialogs, boxes)


@pytest.mark.bars
@pytest.mark.parametrize("name", HOSTILE)
async def test_one_hostile_text_everywhere_does_nothing(page: Pages, name: str) -> None:
    async with desk_without_run() as desk:
        await look_everywhere(desk, page, [HOSTILE[name]])


@pytest.mark.bars
@pytest.mark.parametrize("letter", ["x", "\u0301", "\n", "<b>", "\u202e", "\x1b", '"'])
async def test_sixty_kilobytes_of_one_thing_do_nothing(page: Pages, letter: str) -> None:
    async with desk_without_run() as desk:
        await look_everywhere(desk, page, [letter * (60_000 // len(letter.encode()))])
