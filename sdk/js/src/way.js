/**
 * The lines of one connection: which are to be sent, which are on their way, and which an answer speaks of. Pure.
 *
 * - The server counts the lines behind HELLO, so the order in which they were taken is what its numbers mean.
 * - What became void has its place in that count still, and means nothing any more.
 */
import { ProtocolError } from "./errors.js";

/** The most that take() gives at once, if it is more than one line; a message has at most 256 KiB. */
const PIECE_BYTES = 65_536;

export class Way {
  #queue = [];
  #way = [];
  #sent = 0;
  #acknowledged = 0;

  get isOwed() {
    return this.#way.length > 0;
  }

  send(entries) {
    for (const entry of entries) this.#queue.push(entry);
  }

  /** The next lines to send, which count as sent. */
  take() {
    let [size, count] = [0, 0];
    while (count < this.#queue.length && (!count || size + this.#queue[count].line.length <= PIECE_BYTES)) size += this.#queue[count++].line.length;
    const piece = this.#queue.splice(0, count);
    this.#way.push(...piece);
    this.#sent += count;
    return piece;
  }

  /** What is on its way may be lost, and what was to be sent is decided anew. */
  void() {
    this.#way.fill(null);
    this.#queue = [];
  }

  /** The lines that an ACK is the first to count. Throws ProtocolError. */
  acknowledge(line) {
    const count = line.number();
    if (count <= this.#acknowledged || count > this.#sent) throw this.#miscounted(line);
    const found = this.#way.splice(0, count - this.#acknowledged);
    this.#acknowledged = count;
    return found.filter(Boolean);
  }

  /** The line that a NAK speaks of; null: it is void. Throws ProtocolError. */
  refused(line) {
    const entry = this.#way[line.number() - this.#acknowledged - 1];
    if (entry === undefined) throw this.#miscounted(line);
    return entry;
  }

  #miscounted(line) {
    return new ProtocolError(`the server said ${line}, after ACK ${this.#acknowledged} and when ${this.#sent} lines were sent`);
  }
}
