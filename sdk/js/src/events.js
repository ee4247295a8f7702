/**
 * The events of Parade as typed values, and their lines. Pure.
 *
 *     new Follow(60, 50, null, { seq: 666 })       666|F|60|50
 *     new PrivateMessage(32, 56, "hi")             *|P|32|56|hi
 *
 * Ids are strings, since they have up to 20 digits. Payloads and lines are strings, or Uint8Array if they are not UTF-8.
 */
import { ProtocolError } from "./errors.js";
import { joined, textOf } from "./lines.js";

const LINE = /^([1-9]\d{0,15}|\*)\|(?:(B)|(S)\|([1-9]\d{0,19})|([FUP])\|([1-9]\d{0,19})\|([1-9]\d{0,19}))(?:\|([^\n]*)|\r?)\n$/;

/** One character for each byte. */
const latin = new TextDecoder("latin1");

export function checkId(id) {
  const isExact = typeof id !== "number" || Number.isSafeInteger(id);
  if (!isExact || !/^[1-9]\d{0,19}$/.test(id)) throw new RangeError(`a user id has 1 to 20 digits and is not 0 (beyond 2^53 give a string): ${id}`);
  return String(id);
}

class Event {
  constructor(kind, letter, users, payload, { seq = null, line } = {}) {
    this.kind = kind;
    this.seq = seq;
    for (const name in users) this[name] = checkId(users[name]);
    this.payload = payload ?? null;
    this.line = line ?? this.#made([letter, ...Object.keys(users).map((name) => this[name])]);
  }

  #made(fields) {
    const { seq, payload } = this;
    if (seq !== null && !(Number.isSafeInteger(seq) && seq > 0)) throw new RangeError(`a sequence number is 1 to 2^53-1, and not ${seq}; leave it out if Parade gives it`);
    if (payload?.includes(typeof payload === "string" ? "\n" : 10)) throw new RangeError("a payload can't have a line end (LF): encode it, for example as Base64");
    const line = joined([[seq ?? "*", ...fields].join("|"), ...(payload === null ? [] : ["|", payload]), "\n"]);
    return typeof line === "string" ? line : textOf(line);
  }
}

export class Follow extends Event {
  constructor(follower, followed, payload, options) {
    super("follow", "F", { follower, followed }, payload, options);
  }
}

export class Unfollow extends Event {
  constructor(follower, followed, payload, options) {
    super("unfollow", "U", { follower, followed }, payload, options);
  }
}

export class Broadcast extends Event {
  constructor(payload, options) {
    super("broadcast", "B", {}, payload, options);
  }
}

export class PrivateMessage extends Event {
  constructor(sender, recipient, payload, options) {
    super("private-message", "P", { sender, recipient }, payload, options);
  }
}

export class StatusUpdate extends Event {
  constructor(author, payload, options) {
    super("status-update", "S", { author }, payload, options);
  }
}

/** Events are missing: read what you know about the user anew, and go on. */
export class Reset {
  kind = "reset";

  constructor(position, reason) {
    this.position = position;
    this.reason = reason;
  }
}

const CHANGES = { F: Follow, U: Unfollow, P: PrivateMessage };

/** The event in a whole line. Throws ProtocolError when it is none. */
export function parseEvent(line) {
  const [, number, broadcast, status, author, kind, origin, target, text] = LINE.exec(typeof line === "string" ? line : latin.decode(line)) ?? [];
  const seq = number === "*" ? null : +number;
  if (seq !== null && !Number.isSafeInteger(seq)) throw new ProtocolError(`${String(line).slice(0, 80)} is no event: is this a port of Parade?`);
  const payload = typeof line === "string" || text === undefined ? text : line.subarray(line.length - 1 - text.length, -1);
  const options = { seq, line };
  if (broadcast) return new Broadcast(payload, options);
  if (status) return new StatusUpdate(author, payload, options);
  return new CHANGES[kind](origin, target, payload, options);
}
