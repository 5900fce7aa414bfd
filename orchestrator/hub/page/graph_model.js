// What a graph shows of the outlines of all runs: nodes and edges. Names come from strangers, so they are only ever keys
// of a Map and text that is drawn.

const LAYERS = { coordinator: 1, worker: 2, agent: 3 };
const UNSEEN = "unseen";

/** What no reader can see, or what would turn the text around it. */
const UNSEEMLY = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]+/gu;
const PILED_MARKS = /(\p{M}{2})\p{M}+/gu;

/** Return a text as one short line: whatever it holds, it takes no more room than `most` characters. */
export function oneLine(text, most = 80) {
  const start = String(text ?? "").slice(0, most * 8);
  const line = start.replace(UNSEEMLY, " ").replace(PILED_MARKS, "$1").replace(/\s+/gu, " ").trim();
  const characters = Array.from(line);
  return characters.length > most ? `${characters.slice(0, most - 1).join("")}…` : line;
}

export function keyOf(kind, name) {
  return `${kind}:${name}`;
}

/** Join the outlines of several runs: an agent that runs on two machines is one node with the replicas of both. */
export function modelOf(outlines) {
  const nodes = new Map();
  const edges = new Map();
  const joined = (kind, name, layer, label) => {
    const key = keyOf(kind, name);
    if (!nodes.has(key)) {
      const text = oneLine(label) || oneLine(name) || "(no name)";
      nodes.set(key, { key, kind, name, layer, label: text, role: kind, peers: [], capabilities: new Set() });
    }
    return nodes.get(key);
  };
  const link = (from, to, kind) => {
    if (nodes.has(from) && nodes.has(to) && from !== to) edges.set(`${from}\n${to}\n${kind}`, { from, to, kind });
  };
  const runs = outlines.filter((outline) => outline && typeof outline === "object");
  for (const run of runs) {
    for (const user of run.users ?? []) joined("user", user.name, 0, user.name);
    for (const agent of run.agents ?? []) {
      const role = Object.hasOwn(LAYERS, agent.role) ? agent.role : "agent";
      const node = joined("agent", agent.name, LAYERS[role], agent.label);
      node.role = role;
      node.peers = [...new Set([...node.peers, ...(agent.replicas ?? [])])];
      for (const word of agent.capabilities ?? []) node.capabilities.add(word);
    }
    for (const team of run.teams ?? []) joined("team", team.name, 4, team.name);
    for (const lobby of run.lobbies ?? []) joined("lobby", lobby.name, 4, lobby.name);
  }
  const who = (name) => (nodes.has(keyOf("agent", name)) ? keyOf("agent", name) : keyOf("user", name));
  for (const run of runs) {
    for (const user of run.users ?? []) {
      for (const name of user.asks ?? []) link(keyOf("user", user.name), keyOf("agent", name), "asks");
    }
    for (const agent of run.agents ?? []) {
      for (const name of agent.workers ?? []) link(keyOf("agent", agent.name), keyOf("agent", name), "hands");
    }
    for (const team of run.teams ?? []) {
      for (const name of team.members ?? []) link(keyOf("agent", name), keyOf("team", team.name), "team");
    }
    for (const lobby of run.lobbies ?? []) {
      for (const name of lobby.members ?? []) link(who(name), keyOf("lobby", lobby.name), "lobby");
      for (const name of lobby.watchers ?? []) link(who(name), keyOf("lobby", lobby.name), "watches");
    }
  }
  return { nodes, edges: [...edges.values()] };
}

/** Give each agent its dots: replicas in the outline's order, then those that only updates have told of. */
export function placeReplicas(nodes, updates) {
  const more = new Map();
  for (const [peer, update] of updates) {
    const key = keyOf("agent", update.agent);
    if (!nodes.has(key)) continue;
    if (!more.has(key)) more.set(key, []);
    more.get(key).push(peer);
  }
  for (const node of nodes.values()) {
    if (node.kind !== "agent") continue;
    const told = new Set(node.peers);
    const extra = (more.get(node.key) ?? []).filter((peer) => !told.has(peer));
    extra.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    node.dots = [...node.peers, ...extra].map((peer) => dotOf(peer, updates.get(peer)));
    node.ready = node.dots.filter((dot) => dot.state === "ready").length;
    node.inflight = node.dots.reduce((sum, dot) => sum + dot.inflight, 0);
    node.trouble = node.dots.some((dot) => dot.state === "failed");
  }
}

function dotOf(peer, update) {
  const inflight = Math.max(0, Number(update?.inflight) || 0);
  const capacity = Math.max(0, Number(update?.capacity) || 0);
  const load = inflight ? Math.min(1, inflight / (capacity || inflight)) : 0;
  return { peer, state: String(update?.state ?? UNSEEN), inflight, capacity, load, detail: update?.detail ?? "" };
}

/** Say of a node what the picture shows of it, for those who do not see it. */
export function inWords(node) {
  if (node.kind !== "agent") return `${node.kind} ${node.label}`;
  const counts = new Map();
  for (const dot of node.dots ?? []) counts.set(dot.state, (counts.get(dot.state) ?? 0) + 1);
  const states = [...counts].map(([state, count]) => `${count} ${oneLine(state, 20)}`).join(", ");
  const tasks = node.inflight ? `, ${node.inflight} ${node.inflight === 1 ? "task" : "tasks"} in flight` : "";
  return `${node.role} ${node.label}: ${states || "no replicas"}${tasks}`;
}
