/**
 * A connection over server-sent events, read with fetch.
 *
 * Not with EventSource, which shows no `id` before the first event: a feed that is cut before it would not know where
 * to go on. Nor does it show why it is refused.
 */
import { Blocks } from "./blocks.js";
import { refusal } from "./refusal.js";

/** As openWebSocket; it can't send. */
export function openEventStream(url, after, on) {
  const abort = new AbortController();
  read(url, after, on, abort.signal).catch((problem) => on.end(String(problem.cause ?? problem)));
  return { send() {}, close: () => abort.abort() };
}

async function read(url, after, on, signal) {
  const answer = await fetch(url, { headers: { Accept: "text/event-stream" }, cache: "no-store", signal });
  if (answer.status !== 200) return on.end(...(await refusal(answer)));
  on.open();
  const blocks = new Blocks(after);
  const decoder = new TextDecoder();
  const reader = answer.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return on.end("it was closed");
    on.data("");
    blocks.put(decoder.decode(value, { stream: true })).forEach(on.data);
  }
}
