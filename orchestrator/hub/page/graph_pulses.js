// Messages that pulse along edges. Many are told at once, so a pulse stands for some: the more, the broader.

const MOST = 320;
const TRAVEL = 900;
const TAIL = 24;
const GLOW = 700;
const COLOURS = { ask: "user", task: "accent", result: "good", chunk: "ink", event: "team", claim: "warn", state: "lobby" };

export class Pulses {
  constructor() {
    this.moving = [];
    this.glowing = new Map();
  }

  /** How many pulses each of `flows` may have, so that the last of them is not left without. */
  share(flows) {
    return Math.max(1, Math.min(4, Math.floor((MOST - this.moving.length) / Math.max(1, flows))));
  }

  get busy() {
    return this.moving.length > 0 || this.glowing.size > 0;
  }

  clear() {
    this.moving = [];
    this.glowing.clear();
  }

  /** Let `count` messages of a kind pass along `path`, spread over the time until the next are told. */
  add({ points, length, backwards }, kind, count, now, spread, most = 4) {
    const colour = Object.hasOwn(COLOURS, kind) ? COLOURS[kind] : "inkDim";
    const logarithm = Math.log2(1 + count);
    const pulses = Math.min(most, 1 + Math.floor(logarithm / 2), MOST - this.moving.length);
    const width = Math.min(6, 2.2 + logarithm * 0.4);
    const tail = Math.min(0.3, TAIL / Math.max(1, length));
    for (let i = 0; i < pulses; i++) {
      this.moving.push({ points, backwards, colour, tail, width: Math.round(width), begins: now + (spread * i) / pulses });
    }
  }

  /** Let an edge brighten instead, for those who wish for less motion. */
  glow(edge, kind, count, now) {
    const colour = Object.hasOwn(COLOURS, kind) ? COLOURS[kind] : "inkDim";
    this.glowing.set(edge, { colour, width: Math.min(6, 2.5 + Math.log2(1 + count) * 0.4), begins: now });
  }

  paint(context, palette, now) {
    context.lineCap = "round";
    for (const [curve, { colour, width, begins }] of this.glowing) {
      const left = 1 - (now - begins) / GLOW;
      if (left <= 0) this.glowing.delete(curve);
      else strokeCurve(context, curve, palette[colour], width, 0.8 * left);
    }
    const strokes = new Map();
    this.moving = this.moving.filter((pulse) => now - pulse.begins < TRAVEL * (1 + pulse.tail));
    for (const pulse of this.moving) {
      if (now < pulse.begins) continue;
      const way = eased((now - pulse.begins) / TRAVEL);
      const key = `${pulse.colour} ${pulse.width}`;
      if (!strokes.has(key)) strokes.set(key, { colour: pulse.colour, width: pulse.width, line: new Path2D() });
      trace(strokes.get(key).line, pulse, Math.max(0, way - pulse.tail), Math.min(1, way));
    }
    for (const { colour, width, line } of strokes.values()) {
      context.strokeStyle = palette[colour];
      context.globalAlpha = 0.28;
      context.lineWidth = width + 4;
      context.stroke(line);
      context.globalAlpha = 1;
      context.lineWidth = width;
      context.stroke(line);
    }
  }
}

function eased(t) {
  return t < 0.5 ? 2 * t * t : t > 1 ? t : 1 - 2 * (1 - t) * (1 - t);
}

function trace(line, { points, backwards }, begin, end) {
  if (begin >= 1) return;
  const [from, to] = backwards ? [1 - begin, 1 - end] : [begin, end];
  line.moveTo(...pointAt(points, from));
  line.lineTo(...pointAt(points, (from + to) / 2));
  line.lineTo(...pointAt(points, to));
}

function pointAt(points, way) {
  const last = points.length / 2 - 1;
  const exact = way * last;
  const i = Math.min(last - 1, Math.floor(exact));
  const rest = exact - i;
  return [
    points[2 * i] * (1 - rest) + points[2 * i + 2] * rest,
    points[2 * i + 1] * (1 - rest) + points[2 * i + 3] * rest,
  ];
}

function strokeCurve(context, [x0, y0, x1, y1, x2, y2, x3, y3], colour, width, alpha) {
  context.strokeStyle = colour;
  context.globalAlpha = alpha;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(x0, y0);
  context.bezierCurveTo(x1, y1, x2, y2, x3, y3);
  context.stroke();
  context.globalAlpha = 1;
}
