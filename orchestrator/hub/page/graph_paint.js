// How nodes and edges look. What moves is painted apart from this, so that all of it is drawn only when something changes.

const VARIABLES = {
  ink: "#1d2430", inkDim: "#667085", ground: "#f6f7f9", panel: "#ffffff", line: "#d8dde5", accent: "#3b6fe0",
  good: "#1f9d61", warn: "#c98a10", bad: "#d4403a", idle: "#9aa3b2", team: "#8a55d7", lobby: "#1690a7", user: "#c2557f",
  font: "system-ui, sans-serif",
};
const STATES = {
  ready: "good", starting: "accent", waiting: "warn", restarting: "warn", stopping: "warn", failed: "bad", offline: "idle",
};
const HOLLOW = new Set(["starting", "waiting", "restarting", "stopping"]);
const SMALLEST_TEXT = 8.5;
const MOST_LABEL = 24;
const FULL = 2 * Math.PI;

/** Return the colours of the page, by the names that they have here. */
export function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const read = ([name, otherwise]) => {
    const variable = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    return [name, style.getPropertyValue(variable).trim() || otherwise];
  };
  return Object.fromEntries(Object.entries(VARIABLES).map(read));
}

/** Return the colour of a state; of one that is not known here, that of what is idle. */
export function stateColour(palette, state) {
  return palette[Object.hasOwn(STATES, state) ? STATES[state] : "idle"];
}

export class Painter {
  /** `scale`, where it is asked for, is how large a unit of the graph comes out in CSS pixels. */
  constructor(context, palette) {
    this.context = context;
    this.palette = palette;
    this.shortened = new Map();
  }

  wide(text, weight, size = 13) {
    this.context.font = `${weight} ${size}px ${this.palette.font}`;
    return this.context.measureText(text).width;
  }

  /** Paint the edges: of very many, each is fainter. */
  edges({ edges, selected, hovered, scale }) {
    const lit = hovered ?? selected;
    const strength = Math.min(1, Math.max(0.35, (90 / Math.max(1, edges.length)) ** 0.5));
    for (const edge of edges) this.edge(edge, scale, lit, strength);
  }

  nodes({ nodes, selected, hovered, focused, scale }) {
    const lit = hovered ?? selected;
    for (const node of nodes.values()) {
      const faded = lit?.near ? !lit.near.has(node.key) : false;
      this.node(node, scale, { faded, selected, hovered, focused });
    }
  }

  edge(edge, scale, lit, strength) {
    const { context, palette } = this;
    const touched = lit?.near && (edge.from === lit.key || edge.to === lit.key);
    const handing = edge.kind === "hands" || edge.kind === "asks";
    const usual = (handing ? 0.6 : 0.34) * strength;
    context.strokeStyle = { hands: palette.inkDim, asks: palette.user, team: palette.team }[edge.kind] ?? palette.lobby;
    context.globalAlpha = touched ? 0.95 : lit?.near ? 0.1 : usual;
    context.lineWidth = Math.min(3, Math.max(1.3, 0.9 / scale)) * (touched ? 1.4 : 1);
    context.setLineDash(edge.kind === "watches" ? [1.5, 5] : edge.kind === "lobby" ? [6, 4] : []);
    const [x0, y0, x1, y1, x2, y2, x3, y3] = edge.curve;
    context.beginPath();
    context.moveTo(x0, y0);
    context.bezierCurveTo(x1, y1, x2, y2, x3, y3);
    context.stroke();
    context.setLineDash([]);
    if (handing) this.arrow(x3, y3, Math.atan2(y3 - y2, x3 - x2), context.strokeStyle);
    context.globalAlpha = 1;
  }

  arrow(x, y, angle, colour) {
    const { context } = this;
    const size = 7.5;
    context.fillStyle = colour;
    context.beginPath();
    context.moveTo(x, y);
    for (const turn of [0.42, -0.42]) context.lineTo(x - size * Math.cos(angle + turn), y - size * Math.sin(angle + turn));
    context.fill();
  }

  node(node, scale, { faded, selected, hovered, focused }) {
    const { context, palette } = this;
    const chosen = selected?.key === node.key;
    context.globalAlpha = faded ? 0.38 : 1;
    const edge = { user: palette.user, team: palette.team, lobby: palette.lobby }[node.kind] ?? palette.line;
    this.outline(node, 0);
    context.fillStyle = palette.panel;
    context.fill();
    context.strokeStyle = chosen ? palette.accent : node.trouble ? palette.bad : edge;
    context.lineWidth = chosen ? 2.4 : hovered?.key === node.key ? 2 : 1.3;
    context.setLineDash(node.kind === "lobby" ? [5, 3.5] : []);
    context.stroke();
    context.setLineDash([]);
    if (focused === node.key) {
      this.outline(node, 4);
      context.strokeStyle = palette.accent;
      context.lineWidth = 2 / Math.min(1, scale);
      context.stroke();
    }
    if (node.kind === "agent") this.agent(node, scale, selected);
    else this.place(node, scale);
    context.globalAlpha = 1;
  }

  outline({ kind, x, y, w, h }, more) {
    const { context } = this;
    [x, y, w, h] = [x - more, y - more, w + 2 * more, h + 2 * more];
    context.beginPath();
    if (kind === "team") {
      const cut = 12;
      const corners = [[x + cut, y], [x + w - cut, y], [x + w, y + h / 2], [x + w - cut, y + h], [x + cut, y + h], [x, y + h / 2]];
      corners.forEach(([cx, cy], place) => (place ? context.lineTo(cx, cy) : context.moveTo(cx, cy)));
      context.closePath();
    } else {
      context.roundRect(x, y, w, h, kind === "agent" ? 10 + more : h / 2);
    }
  }

  agent(node, scale, selected) {
    const { context, palette } = this;
    const size = Math.min(MOST_LABEL, Math.max(13, SMALLEST_TEXT / scale));
    const small = size > 15;
    const side = small ? 8 : 14;
    const left = node.x + side;
    this.text(node.label, left, node.y + (small ? 29 : 19), node.w - 2 * side, palette.ink, 600, size);
    if (!small) {
      const count = `${node.ready}/${node.dots.length}`;
      const room = this.wide(count, 500, 11);
      this.text(node.role, left, node.y + 36, node.w - 36 - room, palette.inkDim, 400, 11);
      const colour = node.ready === node.dots.length ? palette.inkDim : palette.ink;
      this.text(count, node.x + node.w - 14 - room, node.y + 36, room + 2, colour, 500, 11);
    }
    for (const [dot, x, y] of spots(node)) this.dot(dot, x, y, node.grid.radius, selected);
  }

  dot(dot, x, y, radius, selected) {
    const { context, palette } = this;
    const alpha = context.globalAlpha;
    const colour = stateColour(palette, dot.state);
    const large = radius > 4;
    context.fillStyle = context.strokeStyle = colour;
    context.beginPath();
    if (dot.state === "failed") {
      const arm = radius * 0.72;
      context.lineWidth = radius * 0.5;
      context.moveTo(x - arm, y - arm);
      context.lineTo(x + arm, y + arm);
      context.moveTo(x + arm, y - arm);
      context.lineTo(x - arm, y + arm);
      context.stroke();
    } else if (HOLLOW.has(dot.state)) {
      context.arc(x, y, radius * 0.74, 0, FULL);
      context.lineWidth = radius * 0.42;
      context.stroke();
    } else if (dot.state === "ready") {
      context.globalAlpha = alpha * (dot.load ? 1 : 0.62);
      context.arc(x, y, large && dot.load ? radius * 0.56 : radius * 0.8, 0, FULL);
      context.fill();
    } else {
      context.globalAlpha = alpha * 0.5;
      context.arc(x, y, radius * 0.6, 0, FULL);
      context.fill();
    }
    context.globalAlpha = alpha;
    if (dot.load) this.load(dot, x, y, radius);
    if (selected?.peer === dot.peer) {
      context.beginPath();
      context.arc(x, y, radius + 2.2, 0, FULL);
      context.strokeStyle = palette.accent;
      context.lineWidth = 1.8;
      context.stroke();
    }
  }

  /** Show how much of what it may work on at once it works on, as a ring that closes. */
  load(dot, x, y, radius) {
    const { context, palette } = this;
    context.strokeStyle = palette.accent;
    context.lineWidth = radius > 4 ? radius * 0.34 : 1.3;
    context.beginPath();
    context.arc(x, y, radius + (radius > 4 ? 0.4 : 0.2), -FULL / 4, -FULL / 4 + FULL * Math.max(0.12, dot.load));
    context.stroke();
  }

  /** Paint the sign and the name of a user, a team or a lobby. */
  place(node, scale) {
    const { context, palette } = this;
    const size = Math.min(MOST_LABEL, Math.max(13, SMALLEST_TEXT / scale));
    const colour = palette[node.kind];
    const x = node.x + 22;
    const y = node.y + node.h / 2;
    context.fillStyle = context.strokeStyle = colour;
    context.lineWidth = 1.6;
    context.beginPath();
    if (node.kind === "user") {
      context.arc(x, y - 4.5, 4, 0, FULL);
      context.moveTo(x - 7.5, y + 9);
      context.arc(x, y + 9, 7.5, Math.PI, FULL);
      context.fill();
    } else if (node.kind === "team") {
      for (const [dx, dy] of [[0, -5], [-5, 4], [5, 4]]) {
        context.moveTo(x + dx + 3, y + dy);
        context.arc(x + dx, y + dy, 3, 0, FULL);
      }
      context.fill();
    } else {
      context.arc(x, y, 6.5, 0, FULL);
      context.stroke();
      context.beginPath();
      context.arc(x, y, 2.6, 0, FULL);
      context.fill();
    }
    this.text(node.label, x + 14, y + size * 0.36, node.w - 46, palette.ink, 500, size);
  }

  /** Write a line, cut where the room ends. */
  text(text, x, y, room, colour, weight, size) {
    const { context } = this;
    context.fillStyle = colour;
    context.font = `${weight} ${size}px ${this.palette.font}`;
    context.fillText(this.fitting(text, room, weight, size), x, y);
  }

  fitting(text, room, weight, size) {
    const key = `${weight} ${Math.round(size * 10)} ${Math.round(room)} ${text}`;
    if (!this.shortened.has(key)) {
      if (this.shortened.size > 2000) this.shortened.clear();
      this.shortened.set(key, this.cut(text, room));
    }
    return this.shortened.get(key);
  }

  /** Leave out the middle: names in a row often differ in their ends. */
  cut(text, room) {
    if (this.context.measureText(text).width <= room) return text;
    const characters = Array.from(text);
    const kept = (count) => {
      const end = Math.floor(count * 0.4);
      return `${characters.slice(0, count - end).join("")}…${end ? characters.slice(-end).join("") : ""}`;
    };
    let [least, most] = [0, characters.length];
    while (least < most) {
      const middle = Math.ceil((least + most) / 2);
      if (this.context.measureText(kept(middle)).width <= room) least = middle;
      else most = middle - 1;
    }
    return least ? kept(least) : "";
  }
}

/** Yield each dot of an agent with the middle of it. */
export function* spots(node) {
  const { pitch, columns, height } = node.grid;
  const left = node.x + 14;
  const top = node.y + node.h - 13 - height;
  for (const [place, dot] of node.dots.entries()) {
    yield [dot, left + pitch * ((place % columns) + 0.5) - 1.5, top + pitch * (Math.floor(place / columns) + 0.5)];
  }
}
