// A member of a team: claims by messages alone, with the rules of the oldest programs. It knows no Lamport time and gives
// nothing back. A question is a list of items; the answer says which of them it won, all claimed at once.

import { setTimeout as sleep } from "node:timers/promises";

import { connected } from "./connected.mjs";

const me = process.env.ORCHESTRATOR_PEER_ID;
const { CHANNEL: channel, SETTLE_MS: settle } = process.env;
const claimedItems = new Set();
const rejected = new Set();

const client = await connected();

client.on("message", async ({ data }) => {
  if (data.type === "claim") {
    if (claimedItems.has(data.itemId)) {
      await client.publish(channel, { type: "reject", itemId: data.itemId, from: me });
    } else {
      claimedItems.add(data.itemId);
    }
  } else if (data.type === "reject") {
    rejected.add(data.itemId);
  }
});

async function tryClaim(itemId) {
  if (claimedItems.has(itemId)) {
    return false;
  }
  claimedItems.add(itemId);
  rejected.delete(itemId);
  await client.publish(channel, { type: "claim", itemId, from: me });
  await sleep(Number(settle));
  return !rejected.has(itemId);
}

client.on("direct", async ({ from, data }) => {
  if (data.type !== "ask") {
    return;
  }
  const items = data.prompt.split(" ");
  const won = await Promise.all(items.map(tryClaim));
  const content = items.filter((_, index) => won[index]).join(" ");
  await client.send(from, { type: "completion-chunk", streamId: data.taskId, seq: 0, content, done: false });
  await client.send(from, { type: "completion-chunk", streamId: data.taskId, seq: 1, content: "", done: true });
});

await client.subscribe(channel);
console.log("here");
