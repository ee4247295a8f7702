/**
 * A connection of a source over `POST /events`, which answers as a WebSocket does: OK, NAK, ACK, NEXT, RESET.
 *
 * - One request at a time, so lines stay in order. An empty one asks where to go on, in place of HELLO.
 * - A request has at most as many lines as the answer can name refused ones, and fewer bytes than a listener takes.
 */
import { joined } from "./lines.js";
import { refusal } from "./refusal.js";

const LINES = 100;
/** In characters, of which each is up to 3 bytes; a request may have 256 KiB. */
const LENGTH = 65_536;

/** As openWebSocket; `ask()` asks which number is wanted next, once all is sent. */
export function openPublishing(url, producer, on) {
  const abort = new AbortController();
  const publishing = new Publishing(url, producer, on, abort.signal);
  // The first is HELLO, which needs no line.
  queueMicrotask(on.open);
  let isFirst = true;
  return {
    send(lines) {
      publishing.send(isFirst ? [] : cut(lines));
      isFirst = false;
    },
    ask: () => publishing.ask(),
    close: () => abort.abort(),
  };
}

function cut(lines) {
  if (typeof lines === "string") return lines.match(/[^\n]*\n/g);
  const found = [];
  for (let at = 0, end; at < lines.length; at = end) found.push(lines.slice(at, (end = lines.indexOf(10, at) + 1)));
  return found;
}

class Publishing {
  #queue = [];
  #isBusy = false;
  /** The lines that were answered, and `received` when this began. */
  #answered = 0;
  #begun = 0;
  #history = null;

  constructor(url, producer, on, signal) {
    Object.assign(this, { url, producer, on, signal });
  }

  send(lines) {
    this.#queue.push(...lines);
    this.ask();
  }

  async ask() {
    if (this.#isBusy) return;
    this.#isBusy = true;
    try {
      do await this.#post(this.#take());
      while (this.#queue.length && !this.signal.aborted);
    } catch (problem) {
      this.on.end(String(problem.cause ?? problem));
    }
    this.#isBusy = false;
  }

  #take() {
    let [count, length] = [0, 0];
    const { length: most } = this.#queue;
    while (count < Math.min(LINES, most) && ((length += this.#queue[count].length) <= LENGTH || !count)) count++;
    return this.#queue.splice(0, count);
  }

  async #post(lines) {
    const first = this.#history ? this.#begun + this.#answered + 1 : 1;
    const headers = this.producer ? { "Parade-Producer": this.producer, "Parade-First-Line": `${first}` } : {};
    const answer = await fetch(this.url, { method: "POST", body: joined(lines), headers, signal: this.signal });
    if (answer.status !== 200) {
      this.signal.throwIfAborted();
      return this.on.end(...(await refusal(answer)));
    }
    this.#told(await answer.json(), lines.length);
  }

  #told({ received, next, history, refused }, count) {
    const isReset = this.#history && this.#history !== history;
    if (!this.#history) {
      this.#begun = received ?? 0;
      this.#history = history;
      return this.on.data(`OK ${history}@${next}${this.producer ? ` received=${received}` : ""}\n`);
    }
    if (this.producer && (isReset || received < this.#begun + this.#answered + count)) return this.on.end("Redis came back with older data");
    const naks = refused.map(({ line, reason }) => `NAK ${this.#answered + line} ${reason}\n`);
    this.#answered += count;
    this.#history = history;
    const ack = count ? `ACK ${this.#answered}\n` : "";
    this.on.data(`${naks.join("")}${ack}${isReset ? "RESET" : "NEXT"} ${isReset ? `${history}@` : ""}${next}\n`);
  }
}
