/** What can go wrong; types.d.ts says what to do about each. */

export class ParadeClientError extends Error {
  get name() {
    return this.constructor.name;
  }
}

export class ProtocolError extends ParadeClientError {}

export class UnreachableError extends ParadeClientError {}

export class DeniedError extends ParadeClientError {
  constructor(reason) {
    super(`the server refuses this connection: ${reason}`);
    this.reason = reason;
  }
}

const ADVICE = {
  malformed: "the deployment does not know such events",
  "too-long": "make the payload shorter, or raise PARADE_LINE_BYTES",
  numbered: "leave seq out: this deployment numbers the events (PARADE_NUMBERING=parade)",
  unnumbered: "give seq: in this deployment the sources number the events",
  skipped: "its number was given up (parade skip) before it came",
};

export class RefusedError extends ParadeClientError {
  constructor(reason, line) {
    super(`${String(line).slice(0, 80)} was refused as ${reason}: ${ADVICE[reason] ?? "docs/protocol.md has the reasons"}`);
    this.reason = reason;
    this.line = line;
  }
}

export class OutboxFullError extends ParadeClientError {}

export class FencedError extends ParadeClientError {}

export class LostError extends ParadeClientError {
  constructor(wanted, message) {
    super(message);
    this.wanted = wanted;
  }
}
