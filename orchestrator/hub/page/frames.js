// What comes by a socket, as frames.

const TOO_LONG = 1_048_576;

/** Return a frame, or `null` for what is none. */
export function readFrame(text) {
  if (typeof text !== "string" || text.length > TOO_LONG) return null;
  try {
    const frame = JSON.parse(text);
    return typeof frame?.type === "string" ? frame : null;
  } catch {
    return null;
  }
}

/** Return those entries of a list of presence that name a peer. */
export const entries = (given) => (Array.isArray(given) ? given.filter((each) => typeof each?.peerId === "string") : []);
