// Where nodes stand, decided by their sizes and the room there is: the same for the same picture, and never one over another.

const BETWEEN = 18;
const BETWEEN_LINES = 24;
const BETWEEN_LAYERS = 84;
const STEPS = 14;
const LARGEST = 1.4;
const CARD = { least: 112, most: 196, side: 14, top: 12, head: 34, foot: 13 };
const DOTS = [
  { upTo: 6, pitch: 19, radius: 6.2 },
  { upTo: 24, pitch: 16, radius: 5.2 },
  { upTo: 100, pitch: 13, radius: 4.2 },
  { upTo: Infinity, pitch: 11, radius: 3.5 },
];

/** Return how the dots of `count` replicas are laid out in their node. */
export function dotGrid(count) {
  const { pitch, radius } = DOTS.find((step) => count <= step.upTo);
  const columns = count <= 6 ? Math.max(1, count) : Math.ceil(Math.sqrt(count * 1.7));
  const rows = Math.ceil(count / columns);
  return { pitch, radius, columns, rows, width: columns * pitch, height: rows * pitch };
}

/** Set the size of each node; `wide(text, weight)` measures a label. */
export function measure(nodes, wide) {
  for (const node of nodes) {
    const label = wide(node.label, 600);
    if (node.kind === "agent") {
      node.grid = dotGrid(node.dots.length);
      const words = Math.min(CARD.most, Math.max(CARD.least, Math.max(label, wide(node.role, 400) + 52) + 2 * CARD.side));
      node.w = Math.max(words, node.grid.width + 2 * CARD.side);
      node.h = CARD.top + CARD.head + node.grid.height + CARD.foot;
    } else {
      node.w = Math.min(CARD.most, Math.max(92, label * 1.5 + 48));
      node.h = 38;
    }
  }
}

/** Set `x` and `y` of each node (its upper left corner) so that all of it is as large as can be in `width` x `height`. */
export function arrange(nodes, edges, width, height) {
  const layers = inOrder(nodes, edges);
  const places = layers.pop();
  let best = null;
  for (const across of width >= height ? [true, false] : [false, true]) {
    for (const limit of limits(layers, places, across)) {
      const tried = attempt(layers, places, across, limit);
      const scale = Math.min(width / tried.width, height / tried.height, LARGEST);
      if (!best || scale > best.scale * 1.02) best = { ...tried, scale, across };
    }
  }
  for (const { node, x, y, w } of best.spots) Object.assign(node, { x, y, w });
  return { width: best.width, height: best.height, across: best.across };
}

/** Split nodes into layers, ordered so that few edges cross: each stands near the middle of those it is linked with. */
function inOrder(nodes, edges) {
  const layers = [[], [], [], [], []];
  for (const node of nodes) layers[node.layer].push(node);
  const near = new Map(nodes.map((node) => [node.key, []]));
  for (const { from, to } of edges) {
    near.get(from)?.push(to);
    near.get(to)?.push(from);
  }
  const at = new Map();
  const number = (layer) => layer.forEach((node, place) => at.set(node.key, (place + 0.5) / layer.length));
  layers.forEach(number);
  for (let sweep = 0; sweep < 4; sweep++) {
    for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
      const middle = new Map(layer.map((node) => [node, average(near.get(node.key).map((key) => at.get(key)), at.get(node.key))]));
      layer.sort((a, b) => middle.get(a) - middle.get(b) || at.get(a.key) - at.get(b.key));
      number(layer);
    }
  }
  return layers;
}

function average(values, otherwise) {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : otherwise;
}

/** Return how long a line of nodes may be, from the longest node to all of a layer in one line. */
function limits(layers, places, across) {
  const along = across ? "h" : "w";
  const lengths = layers.map((layer) => layer.reduce((sum, node) => sum + node[along] + BETWEEN, 0));
  const least = Math.max(1, ...layers.flat().map((node) => node[along]), ...(across ? [] : places.map((node) => node.w)));
  const most = Math.max(least, ...lengths);
  const steps = most > least ? STEPS : 1;
  return Array.from({ length: steps }, (_, step) => least * (most / least) ** (1 - step / Math.max(1, steps - 1)) + 1);
}

function attempt(layers, places, across, limit) {
  const spots = [];
  const main = stack(layers, across ? "h" : "w", across ? "w" : "h", limit);
  for (const { node, main: s, side: t, breadth } of main.spots) {
    if (across) spots.push({ node, x: t, y: s, w: breadth });
    else spots.push({ node, x: s, y: t, w: node.w });
  }
  let [width, height] = across ? [main.side, main.main] : [main.main, main.side];
  if (places.length) {
    const band = stack([places], "w", "h", Math.max(width, ...places.map((node) => node.w)) + 1);
    const top = height ? height + BETWEEN_LAYERS * 0.75 : 0;
    const wider = Math.max(width, band.main);
    for (const spot of spots) spot.x += (wider - width) / 2;
    for (const { node, main: s, side: t } of band.spots) {
      spots.push({ node, x: s + (wider - band.main) / 2, y: top + t, w: node.w });
    }
    width = wider;
    height = top + band.side;
  }
  return { spots, width: Math.max(1, width), height: Math.max(1, height) };
}

/** Put layers side by side, each broken into lines of up to `limit`, all of them centred. */
function stack(layers, along, against, limit) {
  const lines = [];
  let side = 0;
  for (const layer of layers.filter((each) => each.length)) {
    if (side) side += BETWEEN_LAYERS - BETWEEN_LINES;
    for (const line of broken(layer, along, limit)) {
      const breadth = Math.max(...line.map((node) => node[against]));
      lines.push({ line, side, breadth, length: lengthOf(line, along) });
      side += breadth + BETWEEN_LINES;
    }
  }
  const main = Math.max(0, ...lines.map((line) => line.length));
  const spots = [];
  for (const { line, side: begin, breadth, length } of lines) {
    let place = (main - length) / 2;
    for (const node of line) {
      const taken = node[against] * 1.5 >= breadth ? breadth : node[against];
      const centred = along === "h" ? taken : node[against];
      spots.push({ node, main: place, side: begin + (breadth - centred) / 2, breadth: taken });
      place += node[along] + BETWEEN;
    }
  }
  return { spots, main, side: Math.max(0, side - BETWEEN_LINES) };
}

function broken(layer, along, limit) {
  const count = Math.ceil(lengthOf(layer, along) / limit);
  const even = Math.max(lengthOf(layer, along) / count, ...layer.map((node) => node[along]));
  const lines = [];
  for (const node of layer) {
    const last = lines.at(-1);
    if (last && lengthOf(last, along) + (node[along] + BETWEEN) / 2 <= even && lengthOf([...last, node], along) <= limit) last.push(node);
    else lines.push([node]);
  }
  return lines;
}

function lengthOf(line, along) {
  return line.reduce((sum, node) => sum + node[along] + BETWEEN, -BETWEEN);
}
