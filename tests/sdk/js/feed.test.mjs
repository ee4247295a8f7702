// Tests of Subscriber and Source with a scripted WebSocket class, and with a small HTTP server of their own.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { Broadcast, DeniedError, ProtocolError, RefusedError, Source, Subscriber, UnreachableError } from "../../../sdk/js/src/index.js";

const deadline = { timeout: 60_000 };

/** A class of WebSockets that a test answers itself; `sockets.next()` is the next one that is made. */
function scripted() {
  const made = [];
  const waiting = [];
  class Scripted {
    sent = [];
    isClosed = false;
    constructor(url) {
      this.url = url;
      waiting.length ? waiting.shift()(this) : made.push(this);
    }
    send(data) {
      this.sent.push(data);
    }
    close() {
      this.isClosed = true;
    }
    say(text) {
      this.onmessage({ data: text });
    }
  }
  Scripted.next = () => (made.length ? Promise.resolve(made.shift()) : new Promise((resolve) => waiting.push(resolve)));
  return Scripted;
}

/** The page's events, while a test runs. */
function page(context) {
  const target = new EventTarget();
  let listeners = 0;
  globalThis.addEventListener = (...all) => (listeners++, target.addEventListener(...all));
  globalThis.removeEventListener = (...all) => (listeners--, target.removeEventListener(...all));
  const { addEventListener, removeEventListener } = globalThis;
  globalThis.document = { addEventListener, removeEventListener };
  context.after(() => {
    delete globalThis.document;
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  });
  return {
    tell: (name, persisted = true) => target.dispatchEvent(Object.assign(new Event(name), { persisted })),
    listeners: () => listeners,
  };
}

async function serving(context, handle) {
  const server = createServer(handle).listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => (server.closeAllConnections(), server.close()));
  return `http://127.0.0.1:${server.address().port}`;
}

async function begun(options = {}) {
  const WebSocket = scripted();
  const feed = new Subscriber("http://host", { user: 50, WebSocket, ...options });
  const opening = feed.open();
  const socket = await WebSocket.next();
  socket.onopen();
  socket.say("OK a@0\n");
  await opening;
  return { feed, socket, WebSocket };
}

test("a feed that is full is closed, and goes on behind what was taken", deadline, async () => {
  const { feed, socket, WebSocket } = await begun({ bufferBytes: 10 });
  socket.say("1|B\n2|B\n3|B\n");
  assert.ok(socket.isClosed);
  for (const seq of [1, 2, 3]) assert.equal((await feed.next()).value.seq, seq);
  const later = feed.next();
  const second = await WebSocket.next();
  second.onopen();
  assert.deepEqual(second.sent, ["50 after=a@3\n"]);
  second.say("RESUMED a@3\n4|B\n");
  assert.equal((await later).value.seq, 4);
  feed.close();
});

test("a page that is frozen closes its connection, and goes on when it is back", deadline, async (context) => {
  const { tell, listeners } = page(context);
  const { feed, socket, WebSocket } = await begun();
  assert.ok(listeners() > 0);
  tell("pagehide", false);
  assert.ok(!socket.isClosed);
  const event = feed.next();
  assert.ok(feed.isConnected);
  tell("pagehide");
  tell("freeze");
  assert.ok(socket.isClosed);
  assert.ok(!feed.isConnected);
  // Out of the back-forward cache a page is told both; the second must not cut what the first has begun.
  tell("resume");
  const second = await WebSocket.next();
  tell("pageshow");
  assert.ok(!second.isClosed);
  second.onopen();
  assert.deepEqual(second.sent, ["50 after=a@0\n"]);
  assert.ok(!feed.isConnected);
  second.say("RESUMED a@0\n1|B\n");
  assert.equal((await event).value.seq, 1);
  assert.ok(feed.isConnected);
  feed.close();
  assert.equal(listeners(), 0);
});

test("when the network is back a new connection is made at once, whatever BYE said", deadline, async (context) => {
  const { tell } = page(context);
  const { feed, socket, WebSocket } = await begun();
  const event = feed.next();
  socket.say("BYE drain 86400000\n");
  socket.onclose({});
  tell("online");
  const second = await WebSocket.next();
  second.onopen();
  second.say("RESUMED a@0\n1|B\n");
  assert.equal((await event).value.seq, 1);
  tell("online");
  assert.ok(second.isClosed);
  feed.close();
});

test("close ends an open next, and breaking off closes", deadline, async () => {
  const one = await begun();
  const waiting = one.feed.next();
  one.feed.close();
  assert.deepEqual(await waiting, { done: true, value: undefined });
  assert.ok(one.socket.isClosed);
  const two = await begun();
  two.socket.say("1|B\n");
  for await (const event of two.feed) if (event.seq === 1) break;
  assert.ok(two.socket.isClosed);
  assert.equal(two.feed.cursor, "a@1");
});

test("what the server breaks off is said once, and then the feed is over", deadline, async () => {
  const { feed, socket } = await begun();
  socket.say("1|B\n1|B\n");
  await feed.next();
  await assert.rejects(feed.next(), ProtocolError);
  assert.equal((await feed.next()).done, true);
  assert.ok(socket.isClosed);
});

test("a Reset that comes at the opening is the first item, and the cursor is not past it", deadline, async () => {
  const WebSocket = scripted();
  const feed = new Subscriber("http://host", { user: 50, after: "a@1", WebSocket });
  const opening = feed.open();
  const socket = await WebSocket.next();
  socket.onopen();
  socket.say("RESET b@7 history\n");
  await opening;
  assert.equal(feed.cursor, "a@1");
  assert.deepEqual({ ...(await feed.next()).value }, { kind: "reset", position: "b@7", reason: "history" });
  assert.equal(feed.cursor, "b@7");
  feed.close();
});

test("when WebSocket can't be opened twice in a row it is server-sent events", deadline, async (context) => {
  const asked = [];
  const address = await serving(context, (request, answer) => {
    asked.push(request.url);
    if (asked.length > 3) return answer.writeHead(400).end("a user id has 1 to 20 digits\n");
    answer.writeHead(200, { "Content-Type": "text/event-stream" });
    answer.end(asked.length === 1 ? "id: a@5\n\n" : `id: a@${asked.length + 3}\n\nid: a@${asked.length + 4}\ndata: ${asked.length + 4}|B\n\n`);
  });
  let tries = 0;
  class Broken {
    constructor() {
      tries++;
      queueMicrotask(() => this.onerror({}));
    }
    close() {}
  }
  const feed = new Subscriber(address, { user: 50, WebSocket: Broken });
  assert.equal((await feed.next()).value.line, "6|B\n");
  assert.equal((await feed.next()).value.line, "7|B\n");
  await assert.rejects(feed.next(), DeniedError);
  assert.equal(tries, 2);
  assert.deepEqual(asked, ["/events?user=50", "/events?user=50&after=a%405", "/events?user=50&after=a%406", "/events?user=50&after=a%407"]);
});

test("nobody there: UnreachableError names the problem", deadline, async (context) => {
  const address = await serving(context, (_, answer) => answer.writeHead(503, { "Retry-After": "0" }).end("too many connections\n"));
  const feed = new Subscriber(address, { user: 50, transport: "sse", patienceS: 0.5 });
  await assert.rejects(feed.next(), (error) => error instanceof UnreachableError && error.message.includes("too many connections"));
});

test("publishing over HTTP: lines in order, refused ones by their number, and again after a lost answer", deadline, async (context) => {
  const bodies = [];
  let taken = 0;
  const address = await serving(context, async (request, answer) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const first = Number(request.headers["parade-first-line"]);
    const lines = body.split("\n").slice(0, -1);
    bodies.push([first, lines]);
    const refused = lines.flatMap((line, at) => (line.includes("bad") ? [{ line: at + 1, reason: "too-long" }] : []));
    taken = Math.max(taken, first - 1 + lines.length);
    if (bodies.length === 2) return request.socket.destroy();
    answer.end(JSON.stringify({ accepted: lines.length - refused.length, received: taken, next: taken + 1, history: "a", refused_lines: refused.length, refused }));
  });
  const source = new Source(address, { producer: "me", transport: "http" });
  await source.open();
  const found = await Promise.allSettled(["one", "bad", "three"].map((each) => source.send(new Broadcast(each))));
  assert.deepEqual(found.map((each) => each.status), ["fulfilled", "fulfilled", "fulfilled"]);
  await source.post(new Broadcast("bad"));
  await source.send(new Broadcast("five"));
  await assert.rejects(source.flush(), RefusedError);
  await source.flush();
  assert.equal(source.received, 5);
  source.close();
  await assert.rejects(source.send(new Broadcast("late")), /closed/);
  assert.equal(bodies[0][1].length, 0);
  assert.deepEqual(bodies[1], [1, ["*|B|one", "*|B|bad", "*|B|three"]]);
  assert.deepEqual(bodies.slice(3).flatMap(([, lines]) => lines), ["*|B|bad", "*|B|five"]);
});

test("a request has at most 100 lines, and fewer bytes than a listener takes", deadline, async (context) => {
  const sizes = [];
  let taken = 0;
  const address = await serving(context, async (request, answer) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const count = body.toString().split("\n").length - 1;
    sizes.push([count, body.length]);
    answer.end(JSON.stringify({ accepted: count, next: (taken += count) + 1, history: "a", refused_lines: 0, refused: [] }));
  });
  const source = new Source(address, { transport: "http" });
  for (let seq = 1; seq <= 250; seq++) await source.post(new Broadcast(null, { seq }));
  for (let seq = 251; seq <= 280; seq++) await source.post(new Broadcast("€".repeat(20_000), { seq }));
  await source.post(new Broadcast("x".repeat(70_000), { seq: 281 }));
  await source.flush();
  source.close();
  assert.equal(taken, 281);
  assert.ok(sizes.every(([count, size]) => count <= 100 && size <= 262_144));
});
