// A source: node publish.mjs http://127.0.0.1:9097 orders-7 http. Sends broadcasts from the first line of its input to
// the end of it, and then the last one; prints how many. Without the name of a producer it gives the numbers.
import { Broadcast, Source } from "../../../sdk/js/src/index.js";

const [address, producer, transport, last = "the last one"] = process.argv.slice(2);
const source = new Source(address, { producer, transport, outboxBytes: 65_536, patienceS: 120 });
await source.open();
let isOver = false;
let sent = 0;
const post = (payload) => source.post(new Broadcast(payload, { seq: producer ? null : ++sent }));
await new Promise((resolve) => process.stdin.once("data", resolve));
process.stdin.on("end", () => (isOver = true)).resume();
let count = 0;
while (!isOver) {
  await post(`${producer ? `${producer} ` : ""}${++count}`);
  await new Promise((resolve) => setTimeout(resolve, 2));
}
await post(last);
await source.flush();
source.close();
console.log(count + 1);
