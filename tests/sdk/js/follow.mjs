// A subscriber: node follow.mjs http://127.0.0.1:9098 50 sse. Prints "open", and then each line up to the last one.
import { Subscriber } from "../../../sdk/js/src/index.js";

const [address, user, transport] = process.argv.slice(2);
const feed = new Subscriber(address, { user, transport, patienceS: 120 });
await feed.open();
console.log("open");
for await (const event of feed) {
  console.log(event.kind === "reset" ? `RESET ${event.reason}` : event.line.trim());
  if (event.payload === "the last one") break;
}
