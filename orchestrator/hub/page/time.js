// What time it is where the hub is: the clock of whoever looks on may be wrong, and ages and ends are told by the hub's.

let ahead = 0;

/** Unix seconds. */
export const now = () => Date.now() / 1000 - ahead;

/** By how many seconds our clock is ahead. */
export const skew = () => ahead;

export function setSkew(seconds) {
  if (Number.isFinite(seconds)) ahead = Math.abs(seconds) < 2 ? 0 : seconds;
}
