/**
 * A source: the connections of one sender of events, one after another, with acknowledgements.
 *
 * - Events that wait for room get it in the order in which they came.
 * - When it can't go on, every call that waits, and each later one, throws its error.
 */
import { Dialer } from "./dialer.js";
import { OutboxFullError, RefusedError } from "./errors.js";
import { Outbox } from "./outbox.js";
import { openPublishing } from "./publishing.js";
import { endpoint } from "./url.js";
import { openWebSocket } from "./websocket.js";

export class Source {
  #outbox;
  #dialer;
  #options;
  #running = null;
  #failure = null;
  #turn = Promise.resolve();
  #connection = null;
  /** How many events wait for room. */
  #queued = 0;
  /** By entry, what to call when it is done. */
  #receipts = new Map();
  /** The first refusal of what was posted since the last flush. */
  #refusal = null;

  constructor(address, options = {}) {
    const { producer = "", outboxBytes = 4_194_304, patienceS = 30, transport, WebSocket = globalThis.WebSocket } = options;
    if (!/^[A-Za-z0-9._-]{0,64}$/.test(producer)) throw new RangeError(`the name of a producer is 1 to 64 of A-Z a-z 0-9 . _ -, and not ${producer}`);
    const outbox = (this.#outbox = new Outbox(producer));
    this.#options = { producer, outboxBytes, patienceS };
    const [socketUrl, eventsUrl] = [endpoint(address, "source", true), endpoint(address, "events")];
    const peer = {
      hello: () => outbox.hello(),
      receive: (chunk) => this.#receive(chunk),
      open: (way, on) => (this.#connection = way === "websocket" ? openWebSocket(WebSocket, socketUrl, on) : openPublishing(eventsUrl, producer, on)),
    };
    for (const name of ["isLive", "isOwed", "maxWaitMs", "parting", "denial"]) Object.defineProperty(peer, name, { get: () => outbox[name] });
    this.#dialer = new Dialer(peer, patienceS, transport ? [transport] : WebSocket ? ["websocket", "http"] : ["http"]);
  }

  get received() {
    return this.#outbox.received;
  }

  get gap() {
    return this.#outbox.gap;
  }

  /** Wait for the server's OK. */
  async open() {
    this.#check();
    while (!this.#outbox.isLive) {
      await this.#dialer.wait(Infinity);
      this.#check();
    }
    return this;
  }

  /** Send an event; resolves when it is in Redis. */
  async send(event) {
    const { refusal, line } = await (await this.#add(event)).receipt;
    if (refusal) throw new RefusedError(refusal, line);
  }

  /** Send an event soon; resolves when there is room for it. */
  async post(event) {
    const { receipt } = await this.#add(event);
    receipt.then(
      ({ refusal, line }) => refusal && (this.#refusal ??= new RefusedError(refusal, line)),
      () => {},
    );
  }

  /** Wait until everything that was posted or sent before is in Redis. */
  async flush() {
    await this.#turn;
    await Promise.all([...this.#receipts.values()].map((each) => each.receipt));
    this.#check();
    const refusal = this.#refusal;
    this.#refusal = null;
    if (refusal) throw refusal;
  }

  /** End the connection, and drop what is not acknowledged. */
  close() {
    this.#fail(new Error("this source is closed: make another one"));
    this.#dialer.close();
  }

  #check() {
    if (this.#failure) throw this.#failure;
    this.#running ??= this.#run();
  }

  async #run() {
    try {
      while (!this.#failure) await this.#dialer.step();
    } catch (problem) {
      this.#fail(problem);
      this.#dialer.close();
    }
  }

  #fail(problem) {
    this.#failure ??= problem;
    for (const { reject } of this.#receipts.values()) reject(this.#failure);
    this.#receipts.clear();
    this.#dialer.ring();
  }

  /** Resolves to an object with the promise of its receipt, because a promise by itself would be waited for. */
  async #add(event) {
    this.#check();
    if (event.seq === null && !this.#options.producer) {
      throw new RangeError("an event without seq needs a producer, as in { producer: 'orders-7' }: otherwise it could be taken twice when the connection breaks");
    }
    // At once if there is room, so that events one behind the other go together.
    if (!this.#queued && this.#hasRoom(event)) return this.#keep(event);
    this.#queued++;
    const added = this.#turn.then(async () => {
      await this.#room(event).finally(() => this.#queued--);
      return this.#keep(event);
    });
    this.#turn = added.catch(() => {});
    return added;
  }

  #keep(event) {
    const waiting = {};
    waiting.receipt = new Promise((resolve, reject) => Object.assign(waiting, { resolve, reject }));
    this.#receipts.set(this.#outbox.add(event), waiting);
    queueMicrotask(() => this.#sendOn());
    return waiting;
  }

  #hasRoom({ line }) {
    const { bytes } = this.#outbox;
    return !bytes || bytes + line.length <= this.#options.outboxBytes;
  }

  async #room(event) {
    const { patienceS } = this.#options;
    const end = performance.now() + patienceS * 1000;
    this.#check();
    while (!this.#hasRoom(event)) {
      const missing = this.gap === null ? "" : `, and number ${this.gap} is missing: send it first`;
      if (performance.now() >= end) throw new OutboxFullError(`no room in the outbox for ${patienceS} s${missing}; \`parade status\` says what the system waits for`);
      this.#connection?.ask?.();
      await this.#dialer.wait(Math.min(1000, end - performance.now()));
      this.#check();
    }
  }

  #sendOn() {
    let lines;
    while (this.#dialer.live && (lines = this.#outbox.take()).length) this.#dialer.live.send(lines);
  }

  #receive(chunk) {
    const wasLive = this.#outbox.isLive;
    for (const entry of this.#outbox.receive(chunk)) {
      this.#receipts.get(entry)?.resolve(entry);
      this.#receipts.delete(entry);
    }
    if (this.#outbox.isLive && !wasLive) this.#dialer.answered();
    this.#sendOn();
  }
}
