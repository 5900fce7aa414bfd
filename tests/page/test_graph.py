"""The graph and the lines of figures, in a real browser on a page of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.page.browsers import Pages
from tests.page.stage import stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Browser, Page

RUN = {
    "type": "run-outline",
    "name": "desk",
    "agents": [
        {"name": "lead", "label": "The lead", "role": "coordinator", "replicas": ["lead"], "workers": ["reviewer"]},
        {
            "name": "reviewer",
            "label": "reviewer",
            "role": "worker",
            "replicas": ["reviewer.1", "reviewer.2", "reviewer.3", "reviewer.4"],
        },
        {"name": "checker", "label": "checker", "role": "agent", "replicas": ["checker"]},
    ],
    "teams": [{"name": "desk", "channel": "teams/desk/state", "members": ["lead", "checker"]}],
    "lobbies": [{"name": "lobby", "channel": "lobbies/lobby", "members": ["lead"], "watchers": ["reader"]}],
    "users": [{"name": "reader", "asks": ["lead"]}],
}

HOSTILE = [
    "__proto__",
    "constructor",
    "<img src=x onerror=alert(1)>",
    "a" * 60_000,
    "x" + "\u0301" * 10_000,
    "",
    " ",
    "\u202e",
]

RANDOM_TOPOLOGIES = """
(seeds) => {
  const random = (seed) => () => ((seed = (seed * 1664525 + 1013904223) >>> 0) / 2 ** 32);
  const topology = (next) => {
    const some = (most) => Math.floor(next() * (most + 1));
    const agents = Array.from({ length: some(next() < 0.3 ? 100 : 12) }, (_, i) => ({
      name: `agent-${i}`, label: "x".repeat(1 + some(40)), role: ["coordinator", "worker", "agent"][some(2)],
      replicas: Array.from({ length: next() < 0.1 ? some(500) : some(12) }, (_, n) => `agent-${i}.${n}`),
    }));
    const names = () => agents.filter(() => next() < 0.2).map((agent) => agent.name);
    for (const agent of agents) agent.workers = names();
    const places = (kind, most) => Array.from({ length: some(most) }, (_, i) => ({ name: `${kind}${i}`, members: names() }));
    const users = Array.from({ length: some(4) }, (_, i) => ({ name: `user${i}`, asks: names() }));
    return { agents, teams: places("team", 6), lobbies: places("lobby", 4), users };
  };
  const wide = (text) => text.length * 7.2;
  const laid = (seed, width, height) => {
    const { nodes, edges } = modelOf([topology(random(seed))]);
    placeReplicas(nodes, new Map());
    const all = [...nodes.values()];
    measure(all, wide);
    return { all, ...arrange(all, edges, width, height) };
  };
  const problems = [];
  for (const seed of seeds) {
    for (const [width, height] of [[390, 640], [1200, 700], [2000, 900], [300, 2000]]) {
      const { all, ...bounds } = laid(seed, width, height);
      const where = (nodes) => JSON.stringify(nodes.map(({ x, y, w, h }) => [x, y, w, h]));
      if (where(all) !== where(laid(seed, width, height).all)) problems.push([seed, width, "differs from itself"]);
      for (const [place, a] of all.entries()) {
        if (!(a.x >= -0.01 && a.y >= -0.01 && a.x + a.w <= bounds.width + 0.01 && a.y + a.h <= bounds.height + 0.01)) {
          problems.push([seed, width, a.key, "is outside"]);
        }
        for (const b of all.slice(place + 1)) {
          if (a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h) {
            problems.push([seed, width, a.key, b.key]);
          }
        }
      }
    }
  }
  return problems.slice(0, 10);
}
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with stage() as address:
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pages(browser: Browser) -> AsyncIterator[Pages]:
    pages = Pages(browser)
    yield pages
    faults = await pages.close()
    assert not faults, "\n".join(faults)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def opened(pages: Pages, address: str) -> Page:
    return await pages.open(address, width=1000, height=600)


@pytest_asyncio.fixture(loop_scope="session")
async def page(opened: Page) -> AsyncIterator[Page]:
    """The stage anew, on which nothing may go wrong."""
    await opened.set_viewport_size({"width": 1000, "height": 600})
    await opened.emulate_media(color_scheme="light", reduced_motion="no-preference")
    await opened.mouse.move(0, 0)
    await opened.reload()
    await wait_until(opened, "window.graph?.view.width > 0")
    yield opened
    assert await opened.evaluate("window.violations") == []


async def wait_until(page: Page, true: str) -> None:
    """Wait for an expression to be true; the page's policy forbids what Playwright has for that."""
    await page.evaluate(
        f"""async () => {{
          const begun = performance.now();
          while (!({true})) {{
            if (performance.now() - begun > 10_000) throw new Error("in vain");
            await new Promise((done) => setTimeout(done, 10));
          }}
        }}"""
    )


async def show(page: Page, outlines: list[dict[str, Any]], **states: str | dict[str, Any]) -> None:
    """Show runs, and replicas (`lead_1` for `lead.1`) in these states."""
    updates = []
    for name, update in states.items():
        peer = name.replace("_", ".")
        more = {"state": update} if isinstance(update, str) else update
        updates.append({"peer": peer, "agent": peer.split(".")[0], **more})
    await page.evaluate(
        "([outlines, updates]) => { graph.outlines(outlines); graph.replicas(new Map(updates.map((u) => [u.peer, u]))); }",
        [outlines, updates],
    )


async def painted(page: Page) -> None:
    """Wait until what was asked for before has been painted."""
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


async def middle(page: Page, key: str) -> tuple[float, float]:
    """Return where on the page the middle of a node is, a little above its dots."""
    x, y = await page.evaluate(
        "(key) => { const { view, model } = graph; const n = model.nodes.get(key);"
        " return [view.x + (n.x + n.w / 2) * view.scale, view.y + (n.y + Math.min(20, n.h / 2)) * view.scale]; }",
        key,
    )
    return x, y


async def colour_at(page: Page, peer: str) -> list[int]:
    """Return the colour of what is painted where a replica's dot is, in a ring around its middle."""
    await painted(page)
    found: list[int] = await page.evaluate(
        """async (peer) => {
          const { spots } = await import("/page/graph_paint.js");
          const { view, model, ratio, still } = graph;
          for (const node of model.nodes.values()) {
            for (const [dot, x, y] of node.kind === "agent" ? spots(node) : []) {
              if (dot.peer !== peer) continue;
              const at = (shift) => [...still.getImageData(
                Math.round((view.x + (x + shift) * view.scale) * ratio), Math.round((view.y + y * view.scale) * ratio), 1, 1).data];
              const far = node.grid.radius * 0.74;
              return ["failed", "ready"].includes(dot.state) ? at(0) : at(far - 0.6);
            }
          }
        }""",
        peer,
    )
    return found[:3]


async def test_nodes_never_overlap_and_stand_where_they_stood_before(page: Page) -> None:
    assert await page.evaluate(RANDOM_TOPOLOGIES, list(range(1, 31))) == []


async def test_a_click_selects_a_node(page: Page) -> None:
    await show(page, [RUN])

    await page.mouse.click(*await middle(page, "agent:lead"))

    assert await page.evaluate("window.picked") == [["agent", "lead"]]


async def test_a_click_on_a_dot_selects_the_replica(page: Page) -> None:
    await show(page, [RUN])
    x, y = await page.evaluate(
        """async () => {
          const { spots } = await import("/page/graph_paint.js");
          const { view, model } = graph;
          const [dot, x, y] = [...spots(model.nodes.get("agent:reviewer"))][2];
          return [view.x + x * view.scale, view.y + y * view.scale];
        }"""
    )

    await page.mouse.click(x, y)

    assert await page.evaluate("window.picked") == [["replica", "reviewer.3"]]


async def test_the_keyboard_reaches_and_selects_every_node_and_the_replicas_of_the_selected(page: Page) -> None:
    await show(page, [RUN], lead="ready", reviewer_2="failed")
    names = await page.get_by_role("button").all_text_contents()
    assert names[0] == "user reader"
    assert "coordinator The lead: 1 ready" in names
    assert len(names) == 6

    await page.get_by_role("button", name="worker reviewer").focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="reviewer.2: failed").focus()
    await page.keyboard.press("Enter")

    assert await page.evaluate("window.picked") == [["agent", "reviewer"], ["replica", "reviewer.2"]]


async def test_keys_zoom_and_move_and_show_all_again(page: Page) -> None:
    await show(page, [RUN])
    await page.locator(".graph").focus()
    before = await page.evaluate("[graph.view.scale, graph.view.x]")

    await page.keyboard.press("+")
    await page.keyboard.press("ArrowLeft")
    zoomed = await page.evaluate("[graph.view.scale, graph.view.x]")
    await page.keyboard.press("0")

    assert zoomed[0] > before[0] and zoomed[1] != before[1]
    assert await page.evaluate("[graph.view.scale, graph.view.x]") == before


async def test_the_wheel_zooms_about_the_pointer(page: Page) -> None:
    await show(page, [RUN])
    x, y = await middle(page, "agent:checker")
    await page.mouse.move(x, y)

    await page.mouse.wheel(0, -300)

    await wait_until(page, "!graph.view.fitted")
    there = await middle(page, "agent:checker")
    assert abs(there[0] - x) < 1 and abs(there[1] - y) < 1


@pytest.mark.parametrize(
    ("state", "variable"),
    [
        ("ready", "good"),
        ("starting", "accent"),
        ("waiting", "warn"),
        ("stopping", "warn"),
        ("failed", "bad"),
        ("new", "idle"),
    ],
)
async def test_each_state_has_its_colour(page: Page, state: str, variable: str) -> None:
    await show(page, [RUN], lead={"state": state, "inflight": int(state == "ready")})
    wanted = await page.evaluate(
        "(name) => { const c = document.createElement('canvas').getContext('2d'); c.fillStyle = graph.palette[name];"
        " c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data].slice(0, 3); }",
        variable,
    )
    others = await page.evaluate("['good', 'accent', 'warn', 'bad', 'idle'].map((name) => graph.palette[name])")

    found = await colour_at(page, "lead")

    def far(colour: str) -> int:
        return sum(abs(int(colour[1 + 2 * i : 3 + 2 * i], 16) - part) for i, part in enumerate(found))

    nearest = min(others, key=far)
    assert [int(nearest[i : i + 2], 16) for i in (1, 3, 5)] == wanted


async def test_tasks_in_flight_are_shown_and_told(page: Page) -> None:
    await show(page, [RUN], lead="ready")
    await painted(page)
    idle = await page.evaluate("graph.still.canvas.toDataURL()")

    await show(page, [RUN], lead={"state": "ready", "inflight": 3, "capacity": 4})

    await painted(page)
    assert await page.evaluate("graph.still.canvas.toDataURL()") != idle
    assert await page.get_by_role("button", name="3 tasks in flight").count() == 1


async def test_two_runs_of_one_agent_are_one_node_with_the_replicas_of_both(page: Page) -> None:
    other = {**RUN, "node": "b", "agents": [{**RUN["agents"][0], "replicas": ["lead.2"]}]}  # type: ignore[dict-item]

    await show(page, [RUN, other], lead="ready", lead_2="ready")

    assert await page.get_by_role("button", name="The lead").all_text_contents() == ["coordinator The lead: 2 ready"]


async def test_messages_move_along_edges_until_they_have_arrived(page: Page) -> None:
    await show(page, [RUN])

    await page.evaluate(
        'graph.flows([["lead", "reviewer", "task", 1000], ["reviewer", "lead", "result", 1], ["lead", "team/desk", "event", 2]])'
    )

    assert await page.evaluate("graph.pulses.moving.length") >= 3
    await wait_until(page, "!graph.pulses.busy && graph.frame === 0")


async def test_less_motion_lets_edges_brighten_instead(page: Page) -> None:
    await page.emulate_media(reduced_motion="reduce")
    await show(page, [RUN])

    await page.evaluate('graph.flows([["lead", "reviewer", "task", 1000]])')

    assert await page.evaluate("[graph.pulses.moving.length, graph.pulses.glowing.size]") == [0, 1]
    await wait_until(page, "!graph.pulses.busy && graph.frame === 0")


async def test_messages_of_those_that_are_not_shown_do_nothing(page: Page) -> None:
    await show(page, [RUN])

    await page.evaluate(
        """graph.flows([["nobody", "lead", "task", 3], ["lead", "nobody", "task", 3], ["team/none", "__proto__", "event", 1],
          ["lead", "lead", "ask", 1], ["lead", "reviewer", "constructor", 5], ["lead", "reviewer", "task", 0],
          [null, undefined, null, NaN]])"""
    )

    assert await page.evaluate("graph.pulses.moving.every((pulse) => pulse.colour === 'inkDim')")


async def test_hostile_names_are_nodes_like_others(page: Page) -> None:
    agents = [
        {"name": name, "label": name, "role": name, "replicas": [f"{name}.1"], "workers": HOSTILE} for name in HOSTILE
    ]
    run = {"agents": agents, "teams": [{"name": name, "members": HOSTILE} for name in HOSTILE]}

    await show(page, [run])
    await page.evaluate(
        "(names) => graph.replicas(new Map(names.map((n) => [n, { peer: n, agent: n, state: n, detail: n }])))", HOSTILE
    )
    await page.evaluate("(names) => graph.flows(names.flatMap((a) => names.map((b) => [a, b, a, 3])))", HOSTILE)
    await page.evaluate("(names) => names.forEach((name) => graph.select('agent', name))", HOSTILE)

    assert await page.evaluate("graph.model.nodes.size") == 2 * len(HOSTILE)
    assert await page.evaluate(
        "[...graph.model.nodes.values()].every((node) => node.w < 200 && node.label.length < 1000)"
    )
    assert await page.evaluate("document.documentElement.scrollWidth") == 1000
    assert await page.evaluate("({}).agents === undefined && Object.prototype.state === undefined")
    assert await page.locator("img").count() == 0


async def test_it_follows_the_room_that_it_has(page: Page) -> None:
    await show(page, [RUN])
    assert await page.evaluate("graph.view.bounds.across") is True

    await page.set_viewport_size({"width": 390, "height": 700})

    await wait_until(page, "graph.view.width === 390 && !graph.view.bounds.across")
    assert await page.evaluate("graph.view.bounds.width * graph.view.scale") <= 390


async def test_it_takes_the_colours_of_the_page_anew(page: Page) -> None:
    await page.emulate_media(color_scheme="dark")

    await page.evaluate("graph.theme()")

    assert await page.evaluate("graph.palette.panel") == "#1a202a"


async def test_a_line_of_figures_says_its_latest_value(page: Page) -> None:
    await page.evaluate(
        """() => {
          window.line = new Sparkline({ label: "Tasks", unit: "/s", seconds: 60 });
          document.getElementById("figures").append(line.element);
          for (let i = 0; i < 300; i++) line.push(1000 + i, i % 50 === 7 ? null : i);
        }"""
    )

    figure = page.get_by_role("img", name="Tasks: 299 /s")
    assert await figure.text_content() == "Tasks 299 /s"
    assert await page.evaluate("line.points[0].time") == 1239
    assert "NaN" not in await figure.inner_html()


async def test_a_line_without_a_value_says_so(page: Page) -> None:
    await page.evaluate(
        "() => { const l = new Sparkline({ label: 'Load' }); document.body.append(l.element); l.push(1, NaN); l.push(NaN, 1); }"
    )

    assert await page.get_by_role("img", name="Load: no value yet").count() == 1
