// Unit tests of the modules that do no input or output. Run by `node --test`, from test_sdk_js.py.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Blocks } from "../../../sdk/js/src/blocks.js";
import { Cursor } from "../../../sdk/js/src/cursor.js";
import { FencedError, LostError, ProtocolError } from "../../../sdk/js/src/errors.js";
import { Broadcast, Follow, PrivateMessage, parseEvent } from "../../../sdk/js/src/events.js";
import { Kept } from "../../../sdk/js/src/kept.js";
import { Control, LINE_BYTES, Lines, Position, bytesOf } from "../../../sdk/js/src/lines.js";
import { Outbox } from "../../../sdk/js/src/outbox.js";
import { Pauses } from "../../../sdk/js/src/reconnect.js";
import { endpoint } from "../../../sdk/js/src/url.js";

const NO_TEXT = Uint8Array.from([0x35, 0x7c, 0x42, 0x7c, 0xff, 0x0a]);

function taken(lines) {
  const found = [];
  while (lines.wait) found.push(lines.take());
  return found;
}

function fed(chunks) {
  const lines = new Lines();
  for (const each of chunks) lines.put(each);
  return taken(lines);
}

test("lines are the same however they are cut, as text and as bytes", () => {
  const text = "OK a@0\n1|B|grüß\r\n\n2|B|😀|\n3|B|no end";
  const whole = ["OK a@0\n", "1|B|grüß\r\n", "\n", "2|B|😀|\n"];
  const bytes = bytesOf(text);
  assert.deepEqual(fed([text]), whole);
  assert.deepEqual(fed([...text]), whole);
  assert.deepEqual(fed([bytes]), whole);
  assert.deepEqual(fed([...bytes].map((each) => Uint8Array.of(each))), whole);
  for (let at = 0; at <= bytes.length; at++) assert.deepEqual(fed([bytes.slice(0, at), bytes.slice(at)]), whole);
});

test("a line that is not UTF-8 is bytes, and those around it are text", () => {
  const mixed = new Uint8Array([...bytesOf("1|B|é\n"), ...NO_TEXT, ...bytesOf("6|B\n")]);
  assert.deepEqual(fed([mixed]), ["1|B|é\n", NO_TEXT, "6|B\n"]);
  assert.deepEqual(fed(["1|", mixed.slice(2)]), ["1|B|é\n", NO_TEXT, "6|B\n"]);
});

test("a byte order mark is a part of its line", () => {
  assert.deepEqual(fed([bytesOf("\ufeff1|B\n")]), ["\ufeff1|B\n"]);
});

test("lines count what waits, and keep their order while some are taken", () => {
  const lines = new Lines();
  lines.put("1\n2\n3\n");
  assert.equal(lines.bytes, 6);
  assert.equal(lines.take(), "1\n");
  lines.put("4\n");
  assert.deepEqual(taken(lines), ["2\n", "3\n", "4\n"]);
  assert.equal(lines.bytes, 0);
});

test("so many bytes without a line end are no line", () => {
  const lines = new Lines();
  lines.put("x".repeat(LINE_BYTES - 1));
  assert.throws(() => lines.put("x"), ProtocolError);
});

test("control lines: words, pairs in any order, the first of two pairs", () => {
  const line = new Control("RESET a@5 received=3 more x=1=2 x=3\r\n");
  assert.equal(line.word, "RESET");
  assert.deepEqual(line.args, ["a@5", "more"]);
  assert.deepEqual(line.pairs, { received: "3", x: "1=2" });
  assert.equal(`${line.position()}`, "a@5");
  assert.throws(() => line.number(), ProtocolError);
  assert.throws(() => new Control("OK\n").position(), ProtocolError);
});

test("positions", () => {
  assert.equal(`${Position.parse("9f31c2@9007199254740991")}`, "9f31c2@9007199254740991");
  for (const wrong of ["", "9f31c2", "@1", "9f31c2@01", "9f31c2@9007199254740992", "9f31c2@1\n", "a b@1", `${"a".repeat(65)}@1`]) {
    assert.throws(() => Position.parse(wrong), RangeError, wrong);
  }
});

test("events and their lines", () => {
  const event = new PrivateMessage(60, 2n ** 64n, "hi|", { seq: 2 });
  assert.equal(event.line, "2|P|60|18446744073709551616|hi|\n");
  assert.deepEqual(parseEvent(event.line), event);
  assert.equal(new Follow("60", 50).line, "*|F|60|50\n");
  assert.equal(new Broadcast("").line, "*|B|\n");
  assert.deepEqual(new Broadcast(Uint8Array.of(0xff), { seq: 5 }).line, NO_TEXT);
  assert.equal(new Broadcast(bytesOf("é")).line, "*|B|é\n");
  assert.deepEqual(parseEvent(NO_TEXT).payload, Uint8Array.of(0xff));
  assert.equal(parseEvent("2|B\r\n").payload, null);
  assert.equal(parseEvent("2|B|x\r\n").payload, "x\r");
});

test("what is no event", () => {
  for (const line of ["", "1|B", "0|B\n", "01|B\n", "1|X\n", "1|B\n\n", "1|F|60\n", "1|P|0|5\n", "9007199254740992|B\n", "1|S|123456789012345678901\n"]) {
    assert.throws(() => parseEvent(line), ProtocolError, line);
  }
});

test("what can't be sent", () => {
  for (const wrong of [0, -1, 1.5, 2 ** 53, "", "01", "1 ", "1\n", null, undefined, 10n ** 20n]) assert.throws(() => new Follow(wrong, 1), RangeError);
  for (const seq of [0, 1.5, 2 ** 53, "1"]) assert.throws(() => new Broadcast("", { seq }), RangeError);
  for (const payload of ["a\nb", Uint8Array.of(10)]) assert.throws(() => new Broadcast(payload), RangeError);
});

test("the cursor is that of what was taken", () => {
  const cursor = new Cursor("50", null);
  assert.equal(cursor.hello(), "50 after=now\n");
  cursor.lines.put("OK a@3\n5|B\nAT 4\nAT 9\n");
  assert.equal(cursor.place, null);
  assert.equal(cursor.take(), undefined);
  assert.equal(`${cursor.place}`, "a@3");
  assert.equal(cursor.take().seq, 5);
  cursor.take();
  assert.equal(`${cursor.place}`, "a@5");
  cursor.take();
  assert.equal(cursor.hello(), "50 after=a@9\n");
});

test("answers to what was not asked, and marks before the answer", () => {
  for (const [after, said] of [["a@1", "OK a@1"], [null, "RESUMED a@1"], ["a@1", "RESUMED a@2"], ["a@1", "RESUMED b@2"], [null, "AT 1"]]) {
    const cursor = new Cursor("50", after);
    cursor.lines.put(`${said}\n`);
    assert.throws(() => cursor.take(), ProtocolError, said);
  }
});

test("a place under a new name is the same place", () => {
  const cursor = new Cursor("50", "a@1");
  cursor.lines.put("RESUMED b@1\n");
  cursor.take();
  assert.equal(`${cursor.place}`, "b@1");
});

test("pauses: a random part of a ceiling that doubles, up to 5 s, and of what BYE says", () => {
  const pauses = new Pauses(() => 0.5);
  assert.deepEqual([1, 2, 3, 4, 5, 6, 7].map(() => pauses.nextMs()), [100, 200, 400, 800, 1600, 2500, 2500]);
  for (let at = 0; at < 5000; at++) pauses.nextMs();
  assert.equal(pauses.nextMs(), 2500);
  assert.equal(pauses.nextMs(20_000), 10_000);
  pauses.answered();
  assert.equal(pauses.nextMs(), 100);
  pauses.answered();
  assert.equal(pauses.nextMs(4000), 2000);
});

const STREAM = [
  "retry: 1000\n\nid: a@5\n\n:\n\nid: a@6\ndata: 6|B|grüß: x\n\n",
  "event: base64\nid: a@7\ndata: NXxCfP8=\n\nid: a@9\n\nid: b@9\n\nid: b@9\n\n",
  "event: reset\nid: c@1\ndata: RESET c@1 history\n\nid: c@2\n\nevent: bye\nretry: 7\ndata: BYE drain 4000\n\nid: c@3\ndata: 3|",
].join("");
const SAID = ["6|B|grüß: x\n", NO_TEXT, "AT 9\n", "RESUMED b@9\n", "AT 9\n", "RESET c@1 history\n", "AT 2\n", "BYE drain 4000\n"];

test("server-sent events are the lines of the protocol, however they are cut", () => {
  for (const text of [STREAM, STREAM.replaceAll("\n", "\r\n")]) {
    for (let at = 0; at <= text.length; at++) {
      const blocks = new Blocks(null);
      assert.deepEqual([...blocks.put(text.slice(0, at)), ...blocks.put(text.slice(at))], ["OK a@5\n", ...SAID]);
    }
  }
  assert.deepEqual(new Blocks("a@5").put(STREAM), ["RESUMED a@5\n", ...SAID]);
  assert.deepEqual(new Blocks("a@5").put("event: reset\nid: b@7\ndata: RESET b@7 away\n\nid: b@8\n\n"), ["RESET b@7 away\n", "AT 8\n"]);
});

test("what Redis wants again is kept up to a bound, and beyond that is lost", () => {
  const kept = new Kept();
  const line = `1|B|${"x".repeat(1000)}\n`;
  for (let seq = 1; seq <= 2000; seq++) kept.add(line, seq, false);
  kept.passBy(2001);
  assert.equal(kept.bytes, 0);
  assert.equal(kept.settled.length, 2000);
  kept.goBack(1500, false);
  assert.deepEqual([kept.waiting.length, kept.waiting[0].seq, kept.bytes], [501, 1500, 501 * line.length]);
  assert.throws(() => kept.goBack(2, false), (error) => error instanceof LostError && error.wanted === 2);
});

test("lines that are passed out of order go, and the others stay in their order", () => {
  const kept = new Kept();
  for (const seq of [5, 1, 7, 2, 9]) kept.add(`${seq}|B\n`, seq, false);
  kept.passBy(6);
  assert.deepEqual(kept.waiting.map((each) => each.seq), [7, 9]);
  assert.equal(kept.bytes, 8);
  kept.passBy(100);
  assert.deepEqual([kept.waiting.length, kept.bytes], [0, 0]);
  kept.goBack(2, false);
  assert.deepEqual(kept.waiting.map((each) => each.seq), [5, 7, 2, 9]);
});

test("a very full outbox is sent again in pieces", () => {
  const outbox = new Outbox("");
  for (let seq = 1; seq <= 300_000; seq++) outbox.add(new Broadcast(null, { seq }));
  outbox.hello();
  outbox.receive("OK a@1\n");
  let [sent, lines] = [0, ""];
  while ((lines = outbox.take())) {
    assert.ok(lines.length <= 65_536);
    sent += lines.length;
  }
  assert.equal(sent, outbox.bytes);
  assert.equal(outbox.receive("ACK 300000\nNEXT 300001\n").length, 300_000);
});

test("a HELLO of its own that is answered late fences a producer once", () => {
  const outbox = new Outbox("me");
  outbox.hello();
  outbox.hello();
  outbox.receive("OK a@1 received=0\n");
  outbox.receive("BYE fenced\n");
  outbox.hello();
  outbox.receive("OK a@1 received=0\n");
  assert.throws(() => outbox.receive("BYE fenced\n"), FencedError);
});

test("a number that is given up is refused, and a gap is over when NEXT has passed it", () => {
  const outbox = new Outbox("");
  outbox.hello();
  outbox.receive("OK a@1 reach=9\n");
  outbox.add(new Broadcast("", { seq: 3 }));
  assert.equal(outbox.take(), "3|B|\n");
  outbox.receive("GAP 2\n");
  assert.equal(outbox.gap, 2);
  const [entry] = outbox.receive("SKIPPED 2-3\n");
  assert.equal(entry.refusal, "skipped");
  outbox.receive("NEXT 4\n");
  assert.deepEqual([outbox.gap, outbox.bytes], [null, 0]);
});

test("addresses", () => {
  assert.equal(endpoint("https://host:9098", "ws", true), "wss://host:9098/ws");
  assert.equal(endpoint(new URL("http://host/parade/?x#y"), "events"), "http://host/parade/events");
  for (const wrong of ["parade://host", "host:9098", "/"]) assert.throws(() => endpoint(wrong, "ws"), TypeError);
});
