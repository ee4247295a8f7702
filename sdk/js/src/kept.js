/**
 * The lines that a source keeps, because they may have to be sent, or sent again. Pure.
 *
 *     to be sent ──▶ done (acknowledged, or refused) ──▶ spare ──▶ forgotten
 *         ▲                        │                       │
 *         └────────────────────────┴───────────────────────┘  Redis came back with older data
 *
 * - The server calls a line by its rank: its number, or of a producer its count over all connections.
 * - Lines are kept until the server wants a higher rank. Beyond that the last SPARE_BYTES are spare.
 */
import { LostError } from "./errors.js";

const SPARE_BYTES = 1_048_576;

export class Kept {
  /** In the order in which they were added; without the spare ones. */
  entries = [];
  bytes = 0;
  /** The counts of the last line, and of the last one that was ever sent. */
  added = 0;
  sent = 0;
  /** Those that became done, until somebody takes them from here. */
  settled = [];
  #spare = [];
  #spareBytes = 0;
  /** The highest rank of what is not even spare any more. */
  #forgotten = 0;

  /** So many lines of the producer were taken before this source began. */
  begin(count) {
    this.added = this.sent = this.#forgotten = count;
  }

  add(line, seq, isCounted) {
    const count = ++this.added;
    const entry = { line, seq, count, rank: isCounted ? count : seq, isDone: false, refusal: "" };
    this.entries.push(entry);
    this.bytes += line.length;
    return entry;
  }

  get waiting() {
    return this.entries.filter((each) => !each.isDone);
  }

  done(entry, refusal = "") {
    if (entry.isDone) return;
    Object.assign(entry, { isDone: true, refusal });
    this.settled.push(entry);
  }

  /** Everything below a rank is taken or given up. */
  passBy(wanted) {
    const isPassed = ({ rank }) => rank < wanted;
    const first = this.entries.findIndex((each) => !isPassed(each));
    // As a rule they are the first ones, and the others stay as they are.
    const passed = this.entries.splice(0, first < 0 ? Infinity : first);
    if (this.entries.some(isPassed)) {
      for (const entry of this.entries) if (isPassed(entry)) passed.push(entry);
      this.entries = this.entries.filter((each) => !isPassed(each));
    }
    for (const entry of passed) this.#spareIt(entry);
    let forgotten = 0;
    for (; this.#spareBytes > SPARE_BYTES; forgotten++) {
      const { line, rank } = this.#spare[forgotten];
      this.#spareBytes -= line.length;
      this.#forgotten = Math.max(this.#forgotten, rank);
    }
    this.#spare.splice(0, forgotten);
  }

  #spareIt(entry) {
    this.done(entry);
    this.bytes -= entry.line.length;
    this.#spare.push(entry);
    this.#spareBytes += entry.line.length;
  }

  /** Everything from a rank on is wanted again. Throws LostError. */
  goBack(wanted, isCounted) {
    if (this.#forgotten >= wanted) {
      const lost = `Redis came back with older data: everything from ${isCounted ? "line" : "number"} ${wanted} on is wanted again`;
      throw new LostError(isCounted ? wanted - 1 : wanted, `${lost}, and this source has forgotten those up to ${this.#forgotten}: make another one, and go on with what your own store has`);
    }
    const again = this.#spare.filter((each) => each.rank >= wanted);
    this.#spare = this.#spare.filter((each) => each.rank < wanted);
    for (const { line } of again) {
      this.bytes += line.length;
      this.#spareBytes -= line.length;
    }
    this.entries = [...again, ...this.entries].sort((one, other) => one.count - other.count);
    for (const entry of this.entries) if (entry.rank >= wanted && (isCounted || !entry.refusal)) entry.isDone = false;
  }
}
