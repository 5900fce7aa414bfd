// A worker: its inbox is a channel of its own, and whoever the data names gets the result. It answers nothing else.

import { connected } from "./connected.mjs";
import { work } from "./working.mjs";

const me = process.env.ORCHESTRATOR_PEER_ID;
const client = await connected();

client.on("message", async ({ data }) => {
  if (data.type === "task") {
    const text = await work(data.prompt); // what this throws ends the program
    await client.send(data.from, { type: "task-result", taskId: data.taskId, result: { by: me, text } });
  }
});

await client.subscribe(`tasks/${me}`);
console.log("here");
