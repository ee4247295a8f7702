/**
 * What a subscriber says and what its answers mean, over all its connections. Pure: lines in, events out.
 *
 * - The place is that of what was taken last, one line at a time, so it can be stored with the effect of an event.
 * - Numbers only grow, over all connections: a line at or below the place was there before, and is an error. So are a
 *   line before the answer, and an answer to something that was not asked.
 * - RESUMED with another history says that the place has a new name, and nothing else. An AT never leads back.
 */
import { ProtocolError } from "./errors.js";
import { parseEvent, Reset } from "./events.js";
import { Control, Lines, Position, isControl } from "./lines.js";

export class Cursor {
  place;
  /** Whether this connection's answer was taken. */
  isLive;
  lines;
  /** What the BYE of this connection said. */
  maxWaitMs;
  /** The last word of this connection, and the reason of an ERROR. */
  parting;
  denial;

  constructor(user, after) {
    this.user = user;
    this.place = after == null ? null : Position.parse(after);
    this.hello();
  }

  /** The registration line of a new connection. */
  hello() {
    Object.assign(this, { lines: new Lines(), isLive: false, maxWaitMs: 0, parting: "", denial: "" });
    return `${this.user} after=${this.place ?? "now"}\n`;
  }

  /** Take the next line; returns what the application is to see of it. Throws ProtocolError. */
  take() {
    const line = this.lines.take();
    return isControl(line) ? this.#control(new Control(line)) : this.#event(parseEvent(line));
  }

  #event(event) {
    if (!this.isLive) throw new ProtocolError(`${event.line} came before the answer to the registration`);
    if (event.seq === null || event.seq <= this.place.number) throw new ProtocolError(`${event.line} came after ${this.place}: it was there before, or is out of order`);
    this.place = new Position(this.place.history, event.seq);
    return event;
  }

  #control(line) {
    switch (line.word) {
      case "OK":
      case "RESUMED":
      case "RESET":
        return this.#answer(line);
      case "AT":
        if (!this.isLive) throw new ProtocolError(`the server said ${line} before the answer to the registration`);
        this.place = new Position(this.place.history, Math.max(this.place.number, line.number()));
        break;
      case "BYE":
        this.maxWaitMs = line.number(line.args[1] ?? "0");
        this.parting = line.line;
        break;
      case "ERROR":
        this.denial = line.text || "no reason given";
        this.parting = line.line;
    }
  }

  #answer(line) {
    const place = line.position();
    const known = this.place;
    if (line.word !== "RESUMED" || !this.#isRenamed(place, known)) {
      if (this.isLive) throw new ProtocolError(`the server said ${line} to a connection that had its answer`);
      const isMistaken = line.word === "OK" ? known : line.word === "RESUMED" && `${place}` !== `${known}`;
      if (isMistaken) throw new ProtocolError(`the server said ${line} in answer to after=${known ?? "now"}`);
    }
    this.place = place;
    this.isLive = true;
    return line.word === "RESET" ? new Reset(`${place}`, line.args[1] ?? "") : undefined;
  }

  /** Whether this is the same place in another history; in the middle of a connection maybe further on. */
  #isRenamed(place, known) {
    if (!known || place.history === known.history) return false;
    return this.isLive ? place.number >= known.number : place.number === known.number;
  }
}
