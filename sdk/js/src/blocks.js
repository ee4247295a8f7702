/**
 * Server-sent events as the lines of the protocol. Pure.
 *
 *     id: 9f31c2@70000                 OK, RESUMED or AT: it depends on what came before
 *     data: 70001|B                    70001|B; with `event: base64` the Base64 of the line
 *     event: reset                     data is the line, as that of `bye` is
 *     data: RESET 9f31c2@90000 trimmed
 */

export class Blocks {
  #rest = "";
  #block = {};
  #answer;
  #history = "";

  /** `after`: what was asked for; null: now. */
  constructor(after) {
    this.#answer = after ? "RESUMED" : "OK";
  }

  /** Text came; returns the lines that it completes, each with its LF: strings, or bytes where Base64 was. */
  put(text) {
    const lines = (this.#rest + text).split(/\r?\n/);
    this.#rest = lines.pop();
    const found = [];
    for (const line of lines) {
      const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (line) this.#block[name] = value;
      else {
        const said = this.#line(this.#block);
        this.#block = {};
        if (said) found.push(said);
      }
    }
    return found;
  }

  #line({ event, id, data }) {
    if (event === "base64") return Uint8Array.from(`${atob(data)}\n`, (each) => each.charCodeAt(0));
    const [history, number] = id?.split("@") ?? [];
    const isNew = history && history !== this.#history;
    if (isNew) this.#history = history;
    if (data !== undefined) {
      this.#answer = event === "reset" ? "" : this.#answer;
      return `${data}\n`;
    }
    if (!id) return "";
    const word = this.#answer || (isNew ? "RESUMED" : "AT");
    this.#answer = "";
    return word === "AT" ? `AT ${number}\n` : `${word} ${id}\n`;
  }
}
