/**
 * How long to wait before the next connection. Pure: chance is handed in.
 *
 * - Full jitter: each pause is a random part of a ceiling, which doubles with each try that brought no answer.
 * - A server that says how long has the return spread over that time, at least.
 */
const FIRST_MS = 200;
const MOST_MS = 5_000;

export class Pauses {
  #failures = 0;
  #chance;

  constructor(chance = Math.random) {
    this.#chance = chance;
  }

  answered() {
    this.#failures = 0;
  }

  nextMs(maxWaitMs = 0) {
    return this.#chance() * Math.max(Math.min(MOST_MS, FIRST_MS * 2 ** this.#failures++), maxWaitMs);
  }
}
