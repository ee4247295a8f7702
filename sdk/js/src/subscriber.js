/**
 * A subscriber: the connections of one user, one after another, as one feed of events.
 *
 * - Connections are made in next() only: a feed that is left alone costs nothing once its buffer is full.
 * - When more than `bufferBytes` wait to be taken the connection is closed, because a WebSocket can't be made to wait.
 *   When all of it is taken the feed goes on behind it, over another one.
 */
import { Cursor } from "./cursor.js";
import { Dialer } from "./dialer.js";
import { checkId } from "./events.js";
import { openEventStream } from "./eventstream.js";
import { endpoint } from "./url.js";
import { openWebSocket } from "./websocket.js";

const BYE_MS = 5_000;

export class Subscriber {
  #cursor;
  #dialer;
  #isClosed = false;
  #turn = Promise.resolve();
  /** A Reset that came when the feed was opened, until the application takes it, and the cursor before it. */
  #reset = null;
  #before = null;

  constructor(address, { user, after = null, patienceS = 30, bufferBytes = 4_194_304, transport, WebSocket = globalThis.WebSocket }) {
    const cursor = (this.#cursor = new Cursor(checkId(user), after));
    const socketUrl = endpoint(address, "ws", true);
    const eventsUrl = endpoint(address, "events");
    const peer = {
      isOwed: true,
      hello: () => cursor.hello(),
      receive: (chunk) => {
        cursor.lines.put(chunk);
        if (cursor.lines.bytes > bufferBytes) this.#dialer.cut("the buffer was full");
      },
      open(way, on) {
        if (way === "websocket") return openWebSocket(WebSocket, socketUrl, on);
        const query = new URLSearchParams({ user: cursor.user, ...(cursor.place && { after: `${cursor.place}` }) });
        return openEventStream(`${eventsUrl}?${query}`, cursor.place, on);
      },
    };
    for (const name of ["isLive", "maxWaitMs", "parting", "denial"]) Object.defineProperty(peer, name, { get: () => cursor[name] });
    this.#dialer = new Dialer(peer, patienceS, transport ? [transport] : WebSocket ? ["websocket", "sse"] : ["sse"]);
  }

  get cursor() {
    const place = this.#reset ? this.#before : this.#cursor.place;
    return place && `${place}`;
  }

  get isConnected() {
    return Boolean(this.#dialer.live);
  }

  /** Wait for the server's answer: what is sent from now on is received. */
  open() {
    return this.#inTurn(async () => {
      this.#before = this.#cursor.place;
      while (!this.#cursor.isLive && !this.#isClosed) this.#reset = (await this.#step()) ?? null;
      return this;
    });
  }

  next() {
    return this.#inTurn(async () => {
      let value = this.#reset;
      this.#reset = null;
      while (!value && !this.#isClosed) value = await this.#step();
      return this.#isClosed ? { done: true, value: undefined } : { done: false, value };
    });
  }

  /** What `break` calls. */
  async return(value) {
    this.close();
    return { done: true, value };
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** End the feed; the place is kept for a while. */
  close() {
    this.#isClosed = true;
    this.#dialer.close();
  }

  /** End the feed and give up its place. */
  async bye() {
    this.#isClosed = true;
    const connection = this.#dialer.live;
    if (connection) {
      const end = performance.now() + BYE_MS;
      connection.send("BYE\n");
      while (!connection.ended && performance.now() < end) await this.#dialer.wait(end - performance.now());
    }
    this.close();
  }

  #inTurn(work) {
    const done = this.#turn.then(work).catch((problem) => {
      this.close();
      throw problem;
    });
    this.#turn = done.catch(() => {});
    return done;
  }

  async #step() {
    if (!this.#cursor.lines.wait) return void (await this.#dialer.step());
    const wasLive = this.#cursor.isLive;
    const item = this.#cursor.take();
    if (this.#cursor.isLive && !wasLive) this.#dialer.answered();
    return item;
  }
}
