// The application of a transcript: node play.mjs sse 40123 < transcript.json. Prints what it saw, as JSON.
import { readFileSync } from "node:fs";
import { DeniedError, FencedError, ProtocolError, RefusedError, Source, Subscriber, parseEvent } from "../../../sdk/js/src/index.js";

const [transport, port] = process.argv.slice(2);
const transcript = JSON.parse(readFileSync(0, "utf8"));
const options = { transport: transport === "ws" ? "websocket" : transport, patienceS: 60 };
const address = `http://127.0.0.1:${port}`;
const USERS = ["follower", "sender", "author", "followed", "recipient"];

const bytesOf = (text) => Buffer.from(text, "latin1");
const textOf = (line) => (line === null ? null : Buffer.from(line).toString("latin1"));

function nameOf(error) {
  for (const [name, kind] of Object.entries({ protocol: ProtocolError, denied: DeniedError, fenced: FencedError })) {
    if (error instanceof kind) return name;
  }
  throw error;
}

function seen(item, wanted) {
  if (item.kind === "reset") return { reset: item.position, reason: item.reason };
  const found = { line: textOf(item.line) };
  if (!wanted.kind) return found;
  const users = USERS.filter((name) => name in item).map((name) => Number(item[name]));
  return { ...found, kind: item.kind.replace("-", " "), seq: item.seq, users, payload: textOf(item.payload) };
}

async function follow() {
  const feed = new Subscriber(address, { user: transcript.user, after: transcript.after, ...options });
  const sees = [];
  try {
    await feed.open();
    while (sees.length < transcript.sees.length) sees.push(seen((await feed.next()).value, transcript.sees[sees.length]));
    if (transcript.ends === "bye") await feed.bye();
  } catch (error) {
    sees.push({ error: nameOf(error) });
  }
  const { cursor } = feed;
  feed.close();
  return { sees, cursor };
}

async function outcome(source, line) {
  const bytes = bytesOf(`${line}\n`);
  const isText = bytes.every((each) => each < 128);
  try {
    await source.send(parseEvent(isText ? `${line}\n` : bytes));
    return "taken";
  } catch (error) {
    return error instanceof RefusedError ? `refused ${error.reason}` : `error ${nameOf(error)}`;
  }
}

async function send() {
  const source = new Source(address, { producer: transcript.producer ?? undefined, ...options });
  await source.open();
  const gets = [];
  for (const group of transcript.does) gets.push(await Promise.all(group.send.map((line) => outcome(source, line))));
  source.close();
  return { gets, received: source.received };
}

console.log(JSON.stringify(await (transcript.role === "source" ? send() : follow())));
