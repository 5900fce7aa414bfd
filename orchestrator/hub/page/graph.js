// The topology as it lives: who there is, in which state, and what goes between them.

import { directCurve, lengthOf, pointsOf, route } from "./graph_edges.js";
import { arrange, measure } from "./graph_layout.js";
import { GraphList } from "./graph_list.js";
import { keyOf, modelOf, oneLine, placeReplicas } from "./graph_model.js";
import { Painter, readPalette, spots } from "./graph_paint.js";
import { Pulses } from "./graph_pulses.js";
import { View, keyed, steer } from "./graph_view.js";

const MOST_PATHS = 4000;

export class Graph {
  /** @param onSelect is told a kind ("agent", "team", "lobby", "user" or "replica") and a name when a person picks one. */
  constructor(container, { onSelect = () => {} } = {}) {
    this.container = container;
    this.onSelect = onSelect;
    this.model = modelOf([]);
    this.updates = new Map();
    this.view = new View();
    this.pulses = new Pulses();
    this.paths = new Map();
    this.selected = this.hovered = this.focused = null;
    this.frame = 0;
    this.build();
    this.theme();
  }

  build() {
    this.element = document.createElement("div");
    this.element.className = "graph";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", "Topology: + and - zoom, 0 shows all, arrows move");
    Object.assign(this.element.style, { position: "relative", width: "100%", height: "100%", overflow: "hidden" });
    // Pulses run over the edges and under the nodes.
    this.layers = [this.canvas(), this.canvas(), this.canvas()];
    [this.lines, this.moving, this.still] = this.layers;
    this.tip = document.createElement("div");
    this.tip.className = "graph-tip";
    this.tip.hidden = true;
    Object.assign(this.tip.style, {
      position: "absolute", pointerEvents: "none", padding: "4px 8px", borderRadius: "6px", maxWidth: "min(22rem, 80%)",
      overflow: "hidden", textOverflow: "ellipsis", whiteSpace: "nowrap", font: "12px var(--font, sans-serif)",
      background: "var(--ink, #222)", color: "var(--panel, #fff)",
    });
    this.list = new GraphList({
      onSelect: (kind, name) => this.picked(kind, name),
      onFocus: (key) => this.focus(key),
    });
    this.element.append(...this.layers.map((layer) => layer.canvas), this.tip, this.list.element);
    this.container.append(this.element);
    steer(this.element, this.view, {
      moved: () => this.moved(),
      clicked: (x, y) => this.clicked(x, y),
      hovered: (x, y) => this.hover(x, y),
    });
    this.element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keyed(this.view, event.key)) return;
      event.preventDefault();
      this.moved();
    });
    this.reduced = matchMedia("(prefers-reduced-motion: reduce)");
    document.addEventListener("visibilitychange", () => this.shown());
    new ResizeObserver(() => this.resized()).observe(this.element);
  }

  canvas() {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true");
    Object.assign(canvas.style, { position: "absolute", left: "0", top: "0", width: "100%", height: "100%" });
    return canvas.getContext("2d");
  }

  /** Show what these runs consist of. */
  outlines(outlines) {
    this.model = modelOf(outlines);
    this.shape = null;
    this.replicas(this.updates);
  }

  /** Show these replicas, all there are, by their peer ids. */
  replicas(updates) {
    this.updates = updates;
    placeReplicas(this.model.nodes, updates);
    this.place();
    this.list.update(this.model.nodes, this.selected);
    this.repaint();
  }

  /** Let messages pass: `[from, to, kind, count]`, where a name that is not shown is left alone. */
  flows(flows) {
    const now = performance.now();
    const spread = Math.min(1000, Math.max(150, now - (this.flowed ?? now - 250)));
    this.flowed = now;
    if (document.hidden || !this.view.width) return;
    const most = this.pulses.share(flows.length);
    for (const [from, to, kind, count] of flows) {
      const way = this.wayBetween(this.keyOfName(from), this.keyOfName(to));
      if (!way || !(count > 0)) continue;
      if (this.reduced.matches) this.pulses.glow(way.curve, kind, count, now);
      else this.pulses.add(way, kind, count, now, spread, most);
    }
    if (this.pulses.busy) this.animate();
  }

  /** Mark a node or a replica as selected; nothing is when neither is there. `onSelect` is not told. */
  select(kind, name) {
    this.selected = this.marked(kind, name);
    this.list.update(this.model.nodes, this.selected);
    this.repaint();
  }

  /** Read the colours and the font of the page anew. */
  theme() {
    this.palette = readPalette();
    this.painter = new Painter(this.still, this.palette);
    this.shape = null;
    this.replicas(this.updates);
  }

  // -- where things are

  place() {
    const { nodes, edges } = this.model;
    const { width, height } = this.view;
    const shape = `${width} ${height} ${[...nodes.values()].map((node) => node.dots?.length ?? "").join(" ")}`;
    if (shape === this.shape || !width || !height) return;
    this.shape = shape;
    const all = [...nodes.values()];
    measure(all, (text, weight) => this.painter.wide(text, weight));
    this.view.bounds = arrange(all, edges, width, height);
    route(nodes, edges, this.view.bounds.across);
    this.paths.clear();
    this.pulses.clear();
    if (this.view.fitted) this.view.fit();
    else this.view.keep();
  }

  resized() {
    const { clientWidth: width, clientHeight: height } = this.element;
    this.ratio = Math.min(3, window.devicePixelRatio || 1);
    Object.assign(this.view, { width, height });
    for (const { canvas } of this.layers) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    this.place();
    this.moved();
    this.draw();
  }

  keyOfName(name) {
    const text = String(name);
    const { nodes } = this.model;
    if (text.startsWith("team/")) return keyOf("team", text.slice(5));
    const user = text.split("/", 1)[0];
    return [keyOf("agent", text), keyOf("user", text), keyOf("user", user)].find((key) => nodes.has(key));
  }

  /** Return the way of messages between two nodes: their edge, in either direction, or else straight from one to the other. */
  wayBetween(from, to) {
    const { nodes, edges } = this.model;
    if (!nodes.has(from) || !nodes.has(to) || from === to) return null;
    const key = `${from}\n${to}`;
    if (!this.paths.has(key)) {
      if (this.paths.size > MOST_PATHS) this.paths.clear();
      const edge = edges.find((each) => each.from === from && each.to === to);
      const back = edge ? null : edges.find((each) => each.from === to && each.to === from);
      const curve = (edge ?? back)?.curve ?? directCurve(nodes.get(from), nodes.get(to), this.view.bounds.across);
      const points = pointsOf(curve);
      this.paths.set(key, { curve, points, length: lengthOf(points), backwards: Boolean(back) });
    }
    return this.paths.get(key);
  }

  // -- what a person does

  hit(x, y) {
    const [wx, wy] = this.view.within(x, y);
    for (const node of this.model.nodes.values()) {
      if (wx < node.x || wx > node.x + node.w || wy < node.y || wy > node.y + node.h) continue;
      if (node.kind === "agent") {
        const reach = node.grid.pitch / 2;
        for (const [dot, dx, dy] of spots(node)) {
          if (Math.abs(wx - dx) <= reach && Math.abs(wy - dy) <= reach) return { node, dot };
        }
      }
      return { node };
    }
    return null;
  }

  marked(kind, name) {
    const { nodes, edges } = this.model;
    const peer = kind === "replica" ? name : undefined;
    const holds = (node) => node.dots?.some((dot) => dot.peer === peer);
    const node = peer === undefined ? nodes.get(keyOf(kind, name)) : [...nodes.values()].find(holds);
    if (!node) return null;
    const near = new Set([node.key]);
    for (const { from, to } of edges) {
      if (from === node.key) near.add(to);
      if (to === node.key) near.add(from);
    }
    return { kind, name, key: node.key, near, peer };
  }

  picked(kind, name) {
    this.select(kind, name);
    this.onSelect(kind, name);
  }

  clicked(x, y) {
    const found = this.hit(x, y);
    if (!found) return;
    // A dot that is too small to aim at is not what was meant.
    const aimed = found.dot && found.node.grid.pitch * this.view.scale >= 8;
    if (aimed) this.picked("replica", found.dot.peer);
    else this.picked(found.node.kind, found.node.name);
  }

  hover(x, y) {
    const found = x === null ? null : this.hit(x, y);
    this.element.style.cursor = found ? "pointer" : "grab";
    const dot = found?.dot;
    this.tip.hidden = !dot;
    if (dot) {
      const load = dot.inflight ? ` · ${dot.inflight}${dot.capacity ? `/${dot.capacity}` : ""} in flight` : "";
      const detail = dot.detail ? ` · ${oneLine(dot.detail, 60)}` : "";
      this.tip.textContent = `${oneLine(dot.peer, 60)} · ${oneLine(dot.state, 20)}${load}${detail}`;
      this.tip.style.left = `${Math.max(0, Math.min(x + 12, this.view.width - this.tip.offsetWidth - 6))}px`;
      this.tip.style.top = `${Math.max(0, y > 40 ? y - 34 : y + 16)}px`;
    }
    if ((found?.node.key ?? null) === (this.hovered?.key ?? null)) return;
    this.hovered = found ? this.marked(found.node.kind, found.node.name) : null;
    this.repaint();
  }

  focus(key) {
    this.focused = key;
    if (key && this.model.nodes.has(key)) this.view.reveal(this.model.nodes.get(key));
    this.moved();
  }

  moved() {
    // While all of it is seen, a finger that moves over it moves the page.
    this.element.style.touchAction = this.view.fitted ? "pan-y" : "none";
    this.repaint();
  }

  // -- painting

  repaint() {
    this.stale = true;
    this.animate();
  }

  animate() {
    if (!this.frame && !document.hidden) this.frame = requestAnimationFrame(() => this.draw());
  }

  shown() {
    if (document.hidden) this.pulses.clear();
    else this.repaint();
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const { view, palette } = this;
    if (!view.width || !view.height || !this.shape) return;
    if (this.stale) {
      this.stale = false;
      const { selected, hovered, focused } = this;
      const what = { ...this.model, selected, hovered, focused, scale: view.scale };
      this.begin(this.lines);
      new Painter(this.lines, palette).edges(what);
      this.begin(this.still);
      this.painter.nodes(what);
    }
    if (this.pulses.busy || this.dirty) {
      this.begin(this.moving);
      this.pulses.paint(this.moving, palette, performance.now());
      this.dirty = this.pulses.busy;
    }
    if (this.pulses.busy) this.animate();
  }

  begin(context) {
    const { ratio, view } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    context.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
  }
}
