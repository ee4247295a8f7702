/** What an HTTP answer that is not 200 says. */

/** These say that the request is wrong, and not that it comes at a bad time. */
const LASTING = [400, 403, 404, 405, 411, 413, 431];

/** The problem, how long to wait in milliseconds, and whether trying again would not help. */
export async function refusal(answer) {
  const text = (await answer.text()).trim();
  const reason = /^\{.*"error": *("(?:[^"\\]|\\.)*")/.exec(text)?.[1];
  const waitMs = 1000 * (+answer.headers.get("retry-after") || 0);
  return [reason ? JSON.parse(reason) : text || `HTTP ${answer.status}`, waitMs, LASTING.includes(answer.status)];
}
