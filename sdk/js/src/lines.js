/**
 * Cuts what comes over a connection into lines, and reads control lines. Pure.
 *
 * - A line counts when its end has come; what is without one is dropped with its connection.
 * - A line is a string, or a Uint8Array if it is not UTF-8.
 * - Further words and unknown pairs are for later versions: they are read and mean nothing.
 */
import { ProtocolError } from "./errors.js";

/** The longest line of any deployment, with its end. */
export const LINE_BYTES = 65_536;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export const bytesOf = (line) => (typeof line === "string" ? encoder.encode(line) : line);

export function textOf(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    return bytes;
  }
}

/** Pieces one behind the other: a string if all are strings. */
export function joined(pieces) {
  if (pieces.every((each) => typeof each === "string")) return pieces.join("");
  const parts = pieces.map(bytesOf);
  const whole = new Uint8Array(parts.reduce((size, each) => size + each.length, 0));
  parts.reduce((at, each) => (whole.set(each, at), at + each.length), 0);
  return whole;
}

/** Strings or bytes in, whole lines out, one at a time. */
export class Lines {
  /** About the bytes that wait to be taken. */
  bytes = 0;
  #rest = "";
  #coming = [];
  #next = [];

  get wait() {
    return this.#next.length + this.#coming.length > 0;
  }

  put(chunk) {
    let whole = joined([this.#rest, chunk]);
    const end = whole.lastIndexOf(typeof whole === "string" ? "\n" : 10) + 1;
    this.#rest = whole.slice(end);
    whole = whole.slice(0, end);
    for (const line of cut(typeof whole === "string" ? whole : textOf(whole))) {
      this.#coming.push(line);
      this.bytes += line.length;
    }
    if (this.#rest.length >= LINE_BYTES) throw new ProtocolError(`${LINE_BYTES} bytes came without a line end: is this a port of Parade?`);
  }

  take() {
    // Two arrays, because shift() moves all that is behind.
    if (!this.#next.length) [this.#next, this.#coming] = [this.#coming.reverse(), []];
    const line = this.#next.pop();
    this.bytes -= line.length;
    return line;
  }
}

function* cut(whole) {
  const lf = typeof whole === "string" ? "\n" : 10;
  for (let at = 0, end; at < whole.length; at = end) {
    end = whole.indexOf(lf, at) + 1;
    const line = whole.slice(at, end);
    yield typeof line === "string" ? line : textOf(line);
  }
}

/** `9f31c2@70000`: for a subscriber just behind this number, for a source the number that is wanted next. */
export class Position {
  constructor(history, number) {
    this.history = history;
    this.number = number;
  }

  toString() {
    return `${this.history}@${this.number}`;
  }

  static parse(text) {
    const [, history, number] = /^([0-9A-Za-z]{1,64})@(0|[1-9]\d{0,15})$/.exec(text) ?? [];
    if (!Number.isSafeInteger(+number)) throw new RangeError(`${text} is no position such as 9f31c2@70000: give what \`cursor\` was, or leave it out`);
    return new Position(history, +number);
  }
}

export const isControl = (line) => /^[A-Z]/.test(line);

/** A control line: `text` is what stands behind its first word. */
export class Control {
  pairs = {};

  constructor(line) {
    this.line = line.trim();
    const [word, ...parts] = this.line.split(/\s+/);
    this.word = word;
    this.text = this.line.slice(word.length + 1);
    this.args = parts.filter((each) => !each.includes("="));
    for (const pair of parts.filter((each) => each.includes("="))) {
      const at = pair.indexOf("=");
      this.pairs[pair.slice(0, at)] ??= pair.slice(at + 1);
    }
  }

  number(text = this.args[0]) {
    if (!/^(0|[1-9]\d{0,15})$/.test(text)) throw new ProtocolError(`the server said ${this}, which lacks a number`);
    return +text;
  }

  position() {
    try {
      return Position.parse(this.args[0]);
    } catch {
      throw new ProtocolError(`the server said ${this}, which has no position`);
    }
  }

  toString() {
    return `"${this.line.slice(0, 120)}"`;
  }
}
