/**
 * One connection after another, with pauses between them, as long as there is patience.
 *
 * - WebSocket first. When that was not opened twice in a row it is HTTP, as long as that is answered.
 * - A server that owes an answer and is silent is left for another connection.
 * - What comes from a connection that was left means nothing.
 */
import { DeniedError, ParadeClientError, UnreachableError } from "./errors.js";
import { watchPage } from "./page.js";
import { Pauses } from "./reconnect.js";

/** The longest wait for a connection and the server's answer, and later for anything. Marks come every 10 s. */
const ANSWER_MS = 15_000;
const SILENCE_MS = 30_000;

/** How the reasons of an ERROR begin that are still there at the next try. */
const LASTING = /^(a user id|a registration line|after is|this port takes|HELLO needs|the name of a producer|a HELLO line)/;

const now = () => performance.now();

/**
 * `peer` has: `open(transport, on)`, which makes a connection; `hello()`; `receive(chunk)`; `isLive`, whether the
 * server has answered; `isOwed`, whether it owes a sign of life; `maxWaitMs`, `parting` and `denial`, its last words.
 */
export class Dialer {
  #peer;
  #patienceMs;
  #transports;
  #pauses = new Pauses();
  #bells = new Set();
  #connection = null;
  #since = null;
  #nextTry = 0;
  #unopened = 0;
  #isHidden = false;
  #isHurried = false;
  #problem = "there was no answer";
  #failure = null;
  #unwatch;

  constructor(peer, patienceS, transports) {
    if (!(patienceS > 0)) throw new RangeError(`patienceS is the seconds for which there may be no answer, and not ${patienceS}`);
    this.#peer = peer;
    this.#patienceMs = patienceS * 1000;
    this.#transports = transports;
  }

  /** The connection, if the server has answered over it. */
  get live() {
    return this.#peer.isLive && !this.#connection?.ended ? this.#connection : null;
  }

  /** Wait for what comes next, or do what is due. Throws the errors that end it all. */
  async step() {
    this.#unwatch ??= watchPage(() => this.#hide(), () => this.#isHidden && this.#show(), () => this.#show());
    const connection = this.#connection;
    if (this.#failure) throw this.#failure;
    if (this.#isHidden) return this.wait(Infinity);
    if (!connection) return this.#dial();
    if (connection.ended) return this.#ended(...connection.ended);
    const due = this.#peer.isLive ? connection.heardAt + (this.#peer.isOwed ? SILENCE_MS : Infinity) : connection.begunAt + ANSWER_MS;
    return now() < due ? this.wait(due - now()) : this.#ended("it was silent");
  }

  /** Wait until ring(), at most so long. */
  wait(ms) {
    return new Promise((resolve) => {
      const done = () => (clearTimeout(timer), this.#bells.delete(done), resolve());
      const timer = ms < 2 ** 31 ? setTimeout(done, ms) : undefined;
      this.#bells.add(done);
    });
  }

  ring() {
    for (const done of this.#bells) done();
  }

  /** The server has answered. */
  answered() {
    this.#since = null;
    this.#pauses.answered();
  }

  /** Leave the connection; the next step makes another one. */
  cut(problem) {
    if (this.#connection && !this.#connection.ended) {
      this.#connection.close();
      Object.assign(this.#connection, { ended: [problem], wasCut: true });
    }
    this.ring();
  }

  /** Leave the connection for good. */
  close() {
    this.#unwatch?.();
    this.cut("it was closed");
    this.#connection = null;
  }

  #hide() {
    this.#isHidden = true;
    this.#since = null;
    this.cut("the page is hidden");
  }

  #show() {
    this.#isHidden = false;
    this.#isHurried = true;
    this.#since = null;
    this.cut("the page is back");
  }

  #dial() {
    this.#since ??= now();
    const end = this.#since + this.#patienceMs;
    if (now() >= end) throw new UnreachableError(`no answer for ${this.#patienceMs / 1000} s (${this.#problem}): is it running, and is this the right address?`);
    if (now() < this.#nextTry && !this.#isHurried) return this.wait(Math.min(this.#nextTry, end) - now());
    this.#isHurried = false;
    this.#connect(this.#transports[this.#unopened < 2 ? 0 : this.#transports.length - 1]);
  }

  #connect(transport) {
    const hello = this.#peer.hello();
    const connection = { isOpen: false, isFirst: transport === this.#transports[0], begunAt: now(), heardAt: now(), ended: null, close() {} };
    this.#connection = connection;
    const heard = (hear) => (...said) => {
      if (connection !== this.#connection || connection.ended || this.#failure) return;
      connection.heardAt = now();
      try {
        hear(...said);
      } catch (problem) {
        if (!(problem instanceof ParadeClientError)) throw problem;
        this.#failure = problem;
      }
      this.ring();
    };
    const on = {
      open: heard(() => ((connection.isOpen = true), connection.send(hello))),
      data: heard((chunk) => chunk.length && this.#peer.receive(chunk)),
      end: heard((...why) => (connection.ended = why)),
    };
    try {
      Object.assign(connection, this.#peer.open(transport, on));
    } catch (problem) {
      connection.ended = [String(problem)];
    }
  }

  #ended(problem, waitMs = 0, isDenied = false) {
    const { isOpen, isFirst, wasCut, close } = this.#connection;
    const { parting, maxWaitMs, denial, isLive } = this.#peer;
    this.#connection = null;
    close();
    if (isDenied || LASTING.test(denial)) throw new DeniedError(denial || problem);
    if (isFirst) this.#unopened = isOpen || wasCut ? 0 : this.#unopened + 1;
    else if (!isLive) this.#unopened = 0;
    this.#problem = parting || problem;
    this.#nextTry = now() + this.#pauses.nextMs(Math.max(waitMs, maxWaitMs));
  }
}
