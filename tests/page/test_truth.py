"""The dashboard shows what is true, and of that all: whatever strangers send to it, and whoever comes, leaves, or is wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from orchestrator.protocol.dashboard import AgentLoad, AgentOutline, ReplicaUpdate, TaskUpdate
from orchestrator.protocol.tokens import Grants
from tests.page.desk import Desk, Run, dashboard_token, outline, some_tasks, token
from tests.page.test_page import session_of, text_is

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

    from tests.page.browsers import Pages

PAINTED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


async def in_step(page: Page, run: Run, text: str = "in step") -> None:
    """Return when all that was sent to the page before is on it."""
    await run.tell(outline(name=text))
    await text_is(page, "#run-name", text)


# -- strangers


async def test_what_others_than_runs_say_of_a_run_is_not_believed(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    await text_is(shown, "#run-name", "newsroom")
    me = desk.run.watchers[0]
    liar = Run((await desk.arrive("helper.9", "helper")).user, outline(name="a lie", admin=True))
    unlisted = Run((await desk.arrive("(run)/unlisted", "helper")).user, outline(name="a lie"))
    for forger in (liar, unlisted):
        await forger.tell(forger.outline, me)
        await forger.tell(outline(name="x" * 200_000), me)  # in parts
        await forger.tell({"type": "run-update", "time": 1.0, "whole": True, "tasks": some_tasks()}, me)
        await forger.tell({"type": "run-update", "time": 1.0, "gone": ["lead", "helper.1"]}, me)
    await desk.run.update(log=())
    await in_step(shown, desk.run)
    assert await shown.locator("#tasks [data-task]").count() == 0
    assert await shown.locator('[data-peer="helper.1"][data-state="ready"]').count() == 1


async def test_an_answer_is_taken_from_the_run_that_was_asked(page: Pages, desk: Desk) -> None:
    forger = Run((await desk.arrive("(run)/two", "helper")).user, outline())
    shown = await desk.sign_in(page)
    me = (await _watched(desk)).watchers[0]

    def lie_first(_arguments: dict[str, Any]) -> Any:
        return {"tasks": [], "counts": {"dead": 7}}

    desk.run.answers["tasks"] = lie_first
    await forger.tell({"type": "run-answer", "id": "d1", "result": {"tasks": [], "counts": {"dead": 9}}}, me)
    await desk.run.update(tasks=some_tasks())
    await text_is(shown, "#tasks [data-group=dead] b", "8")


async def _watched(desk: Desk) -> Run:
    await desk.run.watched.wait()
    return desk.run


PARTS = """
async ([strangers, length]) => {
  const { Assembly } = await import("/page/parts.js");
  const assembly = new Assembly();
  const text = "x".repeat(length);
  assembly.take("(run)/one", { id: "whole", seq: 0, of: 2, text: '["it is ' }, 0);
  let most = 0;
  for (let stranger = 0; stranger < strangers; stranger += 1) {
    for (let payload = 0; payload < 6; payload += 1) {
      for (let seq = 0; seq < 200; seq += 1) {
        assembly.take(`stranger.${stranger}`, { id: `p${payload}`, seq, of: 1e9, text }, 0);
        most = Math.max(most, assembly.size);
      }
    }
  }
  return [most, assembly.take("(run)/one", { id: "whole", seq: 1, of: 2, text: 'whole"]' }, 0)];
}
"""


async def test_parts_of_strangers_take_bounded_room_and_nobody_elses(page: Pages, desk: Desk) -> None:
    shown = await page.open(desk.url)
    most, whole = await shown.evaluate(PARTS, [20, 60_000])
    assert whole == ["it is whole"]
    assert most < 17 * 1024 * 1024
    most, whole = await shown.evaluate(PARTS, [20, 0])
    assert whole == ["it is whole"]
    assert most < 17 * 1024 * 1024


async def test_chunks_that_come_far_too_early_are_not_kept(page: Pages, desk: Desk) -> None:
    shown = await page.open(desk.url)
    kept = await shown.evaluate("""async () => {
      const { Stream } = await import("/page/stream.js");
      const stream = new Stream("s");
      const content = "x".repeat(60_000);
      for (let seq = 1; seq < 1_000; seq += 1) stream.take({ seq, content });
      stream.take({ seq: 5_000, content: "far" });
      return stream.take({ seq: 0, content: "first" }).length;
    }""")
    assert 1 < kept < 80


# -- names


async def test_what_objects_have_by_birth_is_nobody_to_ask(page: Pages, desk: Desk) -> None:
    born = ("constructor", "toString", "__proto__")
    agents = (
        AgentOutline("lead", "lead", "coordinator", ("lead",)),
        *(AgentOutline(n, n, "worker", (n,)) for n in born),
    )
    shown = await desk.sign_in(page, dashboard_token(metadata={"asks": {"lead": ["lead"]}}, instance="born"))
    await _watched(desk)
    await desk.run.tell(outline(agents=agents, name="born"))
    await text_is(shown, "#run-name", "born")
    await shown.wait_for_selector('#agents [data-agent="constructor"]')
    await shown.evaluate(PAINTED)
    assert await shown.locator("#chat select option").all_text_contents() == ["lead"]


async def test_the_state_of_a_replica_is_cut_wherever_it_is_shown(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    await _watched(desk)
    await desk.run.update(replicas=(ReplicaUpdate("helper.1", "helper", "s" * 50_000),))
    await shown.wait_for_selector('[data-peer="helper.1"][data-state^="sss"]')
    assert len(await shown.get_attribute('[data-peer="helper.1"]', "title") or "") < 100


async def test_another_agent_is_offered_when_the_one_that_was_offered_is_gone(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    await shown.wait_for_function("() => document.querySelector('#chat select').value === 'lead'")
    await desk.leave("lead")
    await desk.run.tell(outline(agents=(AgentOutline("helper", "helper", "worker", ("helper.1",)),), name="less"))
    await text_is(shown, "#run-name", "less")
    await shown.wait_for_function("() => document.querySelector('#chat select').value === 'helper'")


# -- one view and the others


async def test_a_view_that_cannot_be_drawn_keeps_no_other_from_it_and_says_so_once(page: Pages, desk: Desk) -> None:
    shown = await page.open(desk.url)
    found = await shown.evaluate("""async () => {
      const { soon } = await import("/page/dom.js");
      const said = [];
      console.error = (...words) => said.push(words.map(String).join(" "));
      let drawn = 0;
      const broken = () => { throw new Error("broken"); };
      for (let turn = 0; turn < 3; turn += 1) {
        soon(broken);
        await new Promise((done) => soon(() => { drawn += 1; done(); }));
      }
      return [drawn, said];
    }""")
    assert found == [3, ["a view could not be drawn Error: broken"]]


async def test_a_replica_that_is_picked_in_the_map_is_shown_among_the_agents(page: Pages, desk: Desk) -> None:
    peers = tuple(f"helper.{n}" for n in range(1, 500))
    shown = await desk.sign_in(page)
    await _watched(desk)
    await desk.run.tell(outline(agents=(AgentOutline("helper", "helper", "worker", peers),), name="many"))
    await text_is(shown, "#run-name", "many")
    await shown.evaluate(
        "[...document.querySelectorAll('.graph-list button')].find((each) => each.textContent.includes('helper')).click()"
    )
    await shown.evaluate("[...document.querySelectorAll('.graph-list ul button')].at(-1).click()")
    row = shown.locator('#agents .replicas [data-peer="helper.499"]')
    await row.wait_for()
    box = await row.bounding_box()
    assert box is not None
    assert 0 < box["y"] < 900


# -- several runs


async def test_a_replica_is_as_the_run_says_that_started_it(page: Pages, desk: Desk) -> None:
    other = await desk.start_run(outline(node="elsewhere"), "(run)/two")
    shown = await desk.sign_in(page)
    await _watched(desk)
    await other.watched.wait()
    failed = ReplicaUpdate("helper.1", "helper", "failed", detail="exited with 1")
    await desk.run.update(replicas=(failed,))
    await other.update(replicas=(ReplicaUpdate("helper.1", "helper", "offline", where="elsewhere"),))
    await desk.run.update(load=(AgentLoad("helper", 2, 4),))
    await other.update(load=(AgentLoad("helper", 3, 4),))
    await shown.wait_for_selector('[data-peer="helper.1"][data-state="failed"]')
    await shown.wait_for_function(
        "() => [...document.querySelectorAll('.sparkline')].some((each) => each.ariaLabel === 'in flight: 5')"
    )
    await other.update(gone=("helper.1",))
    await other.tell(outline(name="in step"))
    await text_is(shown, "#run-name", "newsroom, in step")
    await shown.evaluate(PAINTED)
    assert await shown.locator('[data-peer="helper.1"][data-state="failed"]').count() == 1


async def test_a_run_that_is_gone_takes_along_what_it_told(page: Pages, desk: Desk) -> None:
    other = await desk.start_run(outline(name="other", keeps_tasks=False), "(run)/two")
    shown = await desk.sign_in(page)
    await other.watched.wait()
    await other.update(
        tasks=(TaskUpdate("t-9", "Research", "helper.1", "running", time.time()),), load=(AgentLoad("helper", 7, 9),)
    )
    await shown.wait_for_selector('[data-task="t-9"]')
    await other.user.close()
    await shown.wait_for_selector('[data-task="t-9"]', state="hidden")
    await text_is(shown, "#run-name", "newsroom")


# -- signing in


async def test_a_link_to_a_hub_elsewhere_signs_in_by_its_token(page: Pages, desk: Desk) -> None:
    shown = await page.open(f"{desk.url}#token={dashboard_token()}")
    await shown.wait_for_selector('#connection[data-state="connected"]')
    assert "eyJ" not in shown.url


async def test_a_link_that_was_used_keeps_nobody_out_who_gets_in_without(page: Pages, desk: Desk) -> None:
    shown = await page.blank(desk.url.split("/")[2])

    async def answer(route: Route) -> None:
        if "code" in (route.request.post_data or ""):
            await route.fulfill(status=401, json={"error": "unauthorized", "message": "this link is not good any more"})
        else:
            await session_of([], 600)(route)

    await shown.route("**/session", answer)
    await shown.goto(f"{desk.url}#code=used")
    await shown.wait_for_selector('#connection[data-state="connected"]')


async def test_a_hub_that_takes_no_token_that_it_gives_is_not_asked_without_end(page: Pages, desk: Desk) -> None:
    asked = []
    shown = await page.blank(desk.url.split("/")[2])
    head, body, _ = dashboard_token().split(".")

    async def answer(route: Route) -> None:
        asked.append(1)
        await route.fulfill(json={"token": ".".join((head, body, "A" * 43)), "expiresAt": 0, "peerId": "x"})

    await shown.route("**/session", answer)
    await shown.goto(desk.url)
    await text_is(shown, "#sign-in-why", "The hub does not accept this token.")
    assert len(asked) == 2


async def test_a_clock_that_is_two_hours_ahead_keeps_nobody_out_and_ages_nobody(page: Pages, desk: Desk) -> None:
    shown = await page.blank(desk.url.split("/")[2])
    await shown.add_init_script("{ const right = Date.now; Date.now = () => right() + 7_200_000; }")
    await shown.goto(desk.url)
    await shown.fill("#token", dashboard_token())
    await shown.click("#sign-in-form button")
    await shown.wait_for_selector('#connection[data-state="connected"]')
    await shown.reload()
    await shown.wait_for_selector('[data-peer="lead"][data-state="ready"]')
    await shown.wait_for_function("() => /^1m$/.test(document.querySelector('[data-peer=\"lead\"] .age').textContent)")


async def test_a_pasted_token_that_has_expired_is_said_to_have(page: Pages, desk: Desk) -> None:
    shown = await page.open(desk.url)
    await shown.fill("#token", dashboard_token(life=-60))
    await shown.click("#sign-in-form button")
    await shown.wait_for_selector("#sign-in-why:has-text('has expired')")


async def test_two_tabs_with_one_pasted_token_do_not_fight_for_it(page: Pages, desk: Desk) -> None:
    given = token("reader/ann", grants=Grants(observe=("(runs)",), send=("(run)/*",)))
    one = await desk.sign_in(page, given)
    other = await desk.sign_in(page, given)
    await desk.run.watched.wait()
    for shown in (one, other):
        await text_is(shown, "#run-name", "newsroom")
        assert await shown.get_attribute("#connection", "data-state") == "connected"


# -- what may be done


async def test_only_what_is_dead_is_offered_to_be_retried(page: Pages, desk: Desk) -> None:
    now = time.time()
    states = ("dead", "cancelled", "done", "running")
    rows = [{"id": f"k-{state}", "type": "T", "queue": "helper", "state": state, "created": now} for state in states]
    desk.run.answers["tasks"] = lambda _: {"tasks": rows, "counts": {}}
    desk.run.answers["task"] = lambda given: next(row for row in rows if row["id"] == given["id"])
    shown = await desk.sign_in(page)
    for state in states:
        await shown.click(f'[data-task="k-{state}"]')
        await shown.wait_for_selector(f"#tasks .detail dd:has-text('k-{state}')")
        assert await shown.is_enabled("#tasks .detail .retry") is (state == "dead"), state
        await shown.keyboard.press("Escape")


async def test_older_tasks_stay_when_newer_ones_change(page: Pages, desk: Desk) -> None:
    def some(first: int) -> list[dict[str, Any]]:
        return [
            {"id": f"k-{n}", "type": "T", "queue": "helper", "state": "done", "created": 5_000.0 - n}
            for n in range(first, first + 200)
        ]

    desk.run.answers["tasks"] = lambda given: {"tasks": some(200 if "before" in given else 0), "counts": {}}
    shown = await desk.sign_in(page)
    await shown.wait_for_selector('#tasks .rows[aria-rowcount="200"]')
    await shown.click("text=Older ones")
    await shown.wait_for_selector('#tasks .rows[aria-rowcount="400"]')
    desk.run.requests.clear()
    await desk.run.update(tasks=(TaskUpdate("k-1", "T", "helper.1", "done", time.time(), kept=True),))
    await desk.run.requested("tasks")
    await in_step(shown, desk.run)
    await shown.evaluate(PAINTED)
    assert await shown.get_attribute("#tasks .rows", "aria-rowcount") == "400"


async def test_what_is_shown_while_there_is_no_connection_looks_like_it(page: Pages, desk: Desk) -> None:
    shown = await desk.sign_in(page)
    await shown.wait_for_selector('[data-peer="lead"][data-state="ready"]')
    opacity = "getComputedStyle(document.getElementById('map')).opacity"
    assert await shown.evaluate(opacity) == "1"
    await desk.server.drain()
    await shown.wait_for_selector('#connection[data-state="reconnecting"]')
    assert float(await shown.evaluate(opacity)) < 1
