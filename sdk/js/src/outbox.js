/**
 * What a source sends and sends again, and what its answers mean, over all its connections. Pure: lines in, lines out.
 *
 * - ACK counts the lines of one connection, so after RESET those that were on their way say nothing any more.
 * - A source that gives the numbers goes by NEXT, and a producer by the count of its lines, `received`.
 * - OK with another history than before says what RESET says.
 */
import { FencedError, ProtocolError } from "./errors.js";
import { Kept } from "./kept.js";
import { Control, Lines, isControl, joined } from "./lines.js";
import { Way } from "./way.js";

export class Outbox {
  isLive = false;
  maxWaitMs = 0;
  parting = "";
  denial = "";
  received = 0;
  gap = null;
  #producer;
  #kept = new Kept();
  #way = new Way();
  #lines = new Lines();
  #place = null;
  #hasAsked = false;
  #leftUnanswered = false;

  constructor(producer) {
    this.#producer = producer;
  }

  get isOwed() {
    return this.#way.isOwed;
  }

  get bytes() {
    return this.#kept.bytes;
  }

  hello() {
    Object.assign(this, { isLive: false, maxWaitMs: 0, parting: "", denial: "" });
    this.#leftUnanswered ||= this.#hasAsked;
    this.#hasAsked = true;
    this.#lines = new Lines();
    this.#way = new Way();
    return `HELLO acks=1${this.#producer ? ` producer=${this.#producer}` : ""}\n`;
  }

  add({ line, seq }) {
    const entry = this.#kept.add(line, seq, !!this.#producer);
    if (this.isLive) this.#way.send([entry]);
    return entry;
  }

  /** The next lines to send, which count as sent; empty when there are none. */
  take() {
    const piece = this.#way.take();
    for (const { count } of piece) this.#kept.sent = Math.max(this.#kept.sent, count);
    return joined(piece.map((each) => each.line));
  }

  /** Lines came; returns the entries that are done by them. Throws ProtocolError, FencedError or LostError. */
  receive(chunk) {
    this.#lines.put(chunk);
    while (this.#lines.wait) {
      const line = this.#lines.take();
      if (!isControl(line)) throw new ProtocolError(`${line.slice(0, 80)} is no answer to a source: is this the port for sources?`);
      this.#answer(new Control(line));
    }
    return this.#kept.settled.splice(0);
  }

  #answer(line) {
    switch (line.word) {
      case "ERROR":
        this.denial = line.text || "no reason given";
        this.parting = line.line;
        return;
      case "BYE":
        return this.#bye(line);
      case "OK":
        return this.#ok(line);
      case "ACK":
      case "NEXT":
      case "GAP":
      case "SKIPPED":
      case "NAK":
      case "RESET":
        if (!this.isLive) throw new ProtocolError(`the server said ${line} before its OK`);
        return this[`_${line.word}`](line);
    }
  }

  #ok(line) {
    if (this.isLive) throw new ProtocolError(`the server said ${line} to a connection that had its OK`);
    const place = line.position();
    this.#hasAsked = false;
    if (this.#producer) this.#count(line.number(line.pairs.received));
    else if (this.#place && this.#place.history !== place.history) this.#kept.goBack(place.number);
    this.isLive = true;
    this.#goOn(place);
  }

  /** So many lines of the producer are taken now. Throws FencedError or LostError. */
  #count(received) {
    this.received = received;
    if (!this.#place) this.#kept.begin(received);
    if (received > this.#kept.sent) {
      const found = `producer ${this.#producer} has ${received} lines, and this source has sent those up to ${this.#kept.sent}`;
      throw new FencedError(`${found}: another sender uses the name. Give each sender a name of its own`);
    }
    this.#kept.goBack(received + 1, true);
    this.#kept.passBy(received + 1);
  }

  /** Send everything that is wanted from here on. */
  #goOn(place) {
    this.#place = place;
    this.gap = null;
    if (!this.#producer) this.#kept.passBy(place.number);
    this.#way.send(this.#kept.waiting);
  }

  _ACK(line) {
    for (const entry of this.#way.acknowledge(line)) {
      this.#kept.done(entry);
      this.received = Math.max(this.received, entry.count);
    }
    if (this.#producer) this.#kept.passBy(this.received + 1);
  }

  _NAK(line) {
    const entry = this.#way.refused(line);
    if (entry) this.#kept.done(entry, line.args[1] ?? "malformed");
  }

  _NEXT(line) {
    const wanted = line.number();
    if (this.gap < wanted) this.gap = null;
    if (!this.#producer) this.#kept.passBy(wanted);
  }

  /** It is sent again if it is here and done, in case that it was lost: once too often does no harm. */
  _GAP(line) {
    this.gap = line.number();
    if (!this.#producer) this.#way.send(this.#kept.entries.filter((each) => each.seq === this.gap && each.isDone && !each.refusal));
  }

  _SKIPPED(line) {
    const [first, last = first] = (line.args[0] ?? "").split("-");
    const [from, to] = [line.number(first), line.number(last)];
    if (this.#producer) return;
    for (const entry of this.#kept.entries) if (entry.seq >= from && entry.seq <= to) this.#kept.done(entry, "skipped");
  }

  /** To a producer the server closes, and the next OK says where to go on. */
  _RESET(line) {
    if (this.#producer) return;
    const place = line.position();
    this.#way.void();
    this.#kept.goBack(place.number);
    this.#goOn(place);
  }

  #bye(line) {
    this.parting = line.line;
    this.maxWaitMs = +line.args[1] || 0;
    if (line.args[0] !== "fenced") return;
    // Maybe a HELLO of our own was answered late: go on, the count will tell.
    if (!this.#leftUnanswered) throw new FencedError(`a later connection of producer ${this.#producer} has taken over: give each sender a name of its own`);
    this.#leftUnanswered = false;
  }
}
