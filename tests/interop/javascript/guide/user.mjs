// A user: asks the agent that its arguments name, writes the chunks as they come, and acknowledges none of them.

import { connected } from "./connected.mjs";

const [agent, prompt] = process.argv.slice(2);
const client = await connected();

client.on("direct", ({ data }) => {
  if (data.type === "completion-chunk") {
    if (data.done) {
      client.close();
    } else {
      process.stdout.write(data.content);
    }
  }
});

try {
  await client.send(agent, { type: "ask", prompt });
} catch (error) {
  console.error(`${agent} was not asked: ${error.name}: ${error.message}`);
  process.exitCode = 1;
  client.close();
}
