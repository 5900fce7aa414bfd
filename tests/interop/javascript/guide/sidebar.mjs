// A sidebar: which agents are online, by name and with what they are able to do. It knows nothing but who joins and who
// leaves. Each time that changes, the whole of it is written as one line of JSON.

import { readFile } from "node:fs/promises";

import { MeteredPeer } from "@metered-ca/realtime";
import { WebSocket } from "ws";

import { FakeConnection } from "../fake_rtc.mjs";

const { ORCHESTRATOR_URL: url, ORCHESTRATOR_TOKEN_FILE: file } = process.env;
const [lobby] = process.argv.slice(2);
const agents = new Map();

function show() {
  console.log(JSON.stringify(Object.fromEntries(agents)));
}

const peer = new MeteredPeer({
  url,
  tokenProvider: async () => (await readFile(file, "utf8")).trim(),
  webSocketFactory: (address) => new WebSocket(address), // Node 20 has none of its own
  rtcPeerConnectionFactory: () => new FakeConnection(),
});

peer.on("peer-joined", ({ peer: remote }) => {
  if (remote.metadata?.kind === "agent") {
    agents.set(remote.id, `${remote.metadata.name}: ${remote.metadata.capabilities.join(", ")}`);
    show();
  }
});

peer.on("peer-left", ({ peer: remote }) => {
  if (agents.delete(remote.id)) {
    show();
  }
});

peer.on("error", ({ err }) => {
  console.error(`the sidebar has ended: ${err.name}`);
  process.exit(1);
});

await peer.join(lobby);
console.log("here");
