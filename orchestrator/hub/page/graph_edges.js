// The way that an edge takes between two nodes, as a curve, and as points along it for what moves.

const POINTS = 28;

/** Give each edge its curve: `[x0, y0, …, x3, y3]` of a cubic one. Those on one side of a node share that side. */
export function route(nodes, edges, across) {
  const sides = new Map();
  for (const edge of edges) {
    const from = nodes.get(edge.from);
    const to = nodes.get(edge.to);
    [edge.leaves, edge.enters] = sidesOf(from, to, across);
    share(sides, from, edge.leaves, edge, to);
    share(sides, to, edge.enters, edge, from);
  }
  const ends = new Map(edges.map((edge) => [edge, []]));
  for (const { node, side, list } of sides.values()) {
    const upright = side === "left" || side === "right";
    list.sort((a, b) => (upright ? middleY(a.other) - middleY(b.other) : middleX(a.other) - middleX(b.other)));
    const room = (upright ? node.h : node.w) * 0.62;
    const step = list.length > 1 ? Math.min(13, room / (list.length - 1)) : 0;
    list.forEach(({ edge }, place) => {
      const shift = (place - (list.length - 1) / 2) * step;
      ends.get(edge).push({ key: node.key, side, ...anchor(node, side, shift) });
    });
  }
  for (const edge of edges) {
    const begin = ends.get(edge).find((end) => end.key === edge.from);
    const end = ends.get(edge).find((each) => each.key === edge.to);
    edge.curve = curve(begin, end);
  }
}

/** Return a curve between two nodes that have no edge. */
export function directCurve(from, to, across) {
  const [leaves, enters] = sidesOf(from, to, across);
  return curve({ side: leaves, ...anchor(from, leaves, 0) }, { side: enters, ...anchor(to, enters, 0) });
}

/** Return points along a curve, x and y in turns, as far from each other as the curve's own pace has it. */
export function pointsOf([x0, y0, x1, y1, x2, y2, x3, y3]) {
  const points = new Float32Array(2 * (POINTS + 1));
  for (let i = 0; i <= POINTS; i++) {
    const t = i / POINTS;
    const s = 1 - t;
    points[2 * i] = s * s * s * x0 + 3 * s * s * t * x1 + 3 * s * t * t * x2 + t * t * t * x3;
    points[2 * i + 1] = s * s * s * y0 + 3 * s * s * t * y1 + 3 * s * t * t * y2 + t * t * t * y3;
  }
  return points;
}

export function lengthOf(points) {
  let length = 0;
  for (let i = 2; i < points.length; i += 2) length += Math.hypot(points[i] - points[i - 2], points[i + 1] - points[i - 1]);
  return length;
}

const middleX = (node) => node.x + node.w / 2;
const middleY = (node) => node.y + node.h / 2;

function sidesOf(from, to, across) {
  const right = to.x - (from.x + from.w);
  const left = from.x - (to.x + to.w);
  const below = to.y - (from.y + from.h);
  const above = from.y - (to.y + to.h);
  if (to.layer === 4 && below > 0) return ["bottom", "top"];
  if (across) {
    if (right > 0) return ["right", "left"];
    if (left > 0) return ["left", "right"];
    return ["right", "right"];
  }
  if (below > 0) return ["bottom", "top"];
  if (above > 0) return ["top", "bottom"];
  return ["bottom", "bottom"];
}

function share(sides, node, side, edge, other) {
  const key = `${node.key}\n${side}`;
  if (!sides.has(key)) sides.set(key, { node, side, list: [] });
  sides.get(key).list.push({ edge, other });
}

const OUT = { left: [-1, 0], right: [1, 0], top: [0, -1], bottom: [0, 1] };

function anchor(node, side, shift) {
  if (side === "left") return { x: node.x, y: middleY(node) + shift };
  if (side === "right") return { x: node.x + node.w, y: middleY(node) + shift };
  if (side === "top") return { x: middleX(node) + shift, y: node.y };
  return { x: middleX(node) + shift, y: node.y + node.h };
}

function curve(begin, end) {
  const [bx, by] = OUT[begin.side];
  const [ex, ey] = OUT[end.side];
  const distance = Math.abs(bx ? end.x - begin.x : end.y - begin.y);
  const reach = begin.side === end.side ? 46 : Math.min(140, Math.max(26, distance * 0.5));
  return [
    begin.x, begin.y,
    begin.x + bx * reach, begin.y + by * reach,
    end.x + ex * reach, end.y + ey * reach,
    end.x, end.y,
  ];
}
