/**
 * Client library of Parade: subscribers that resume, and sources with acknowledgements.
 *
 * Addresses are those of the web port: `https://host:9098`, with a path in front if a proxy adds one; in a page `/` too.
 * Times are in seconds, and sizes in bytes, about.
 */

/** A user id of 1 to 20 digits. Beyond 2^53 give a string or a bigint. */
export type UserId = string | number | bigint;

/** Text, or bytes that are not UTF-8. */
export type Text = string | Uint8Array;

export interface EventOptions {
  /** The sequence number, 1 to 2^53-1; left out or null: Parade gives it. */
  seq?: number | null;
}

interface AnyEvent {
  /** The sequence number; null: Parade gives it. */
  readonly seq: number | null;
  /** Anything but LF; null: the line has no such field. A Uint8Array if it is not UTF-8. */
  readonly payload: Text | null;
  /** The whole line with its end, as it came or as it will be sent. A Uint8Array if it is not UTF-8. */
  readonly line: Text;
}

/** One user follows another, who is notified. Throws RangeError when a field can't be sent, as all events do. */
export class Follow implements AnyEvent {
  constructor(follower: UserId, followed: UserId, payload?: Text | null, options?: EventOptions);
  readonly kind: "follow";
  readonly follower: string;
  readonly followed: string;
  readonly seq: number | null;
  readonly payload: Text | null;
  readonly line: Text;
}

/** One user no longer follows another; nobody is notified. */
export class Unfollow implements AnyEvent {
  constructor(follower: UserId, followed: UserId, payload?: Text | null, options?: EventOptions);
  readonly kind: "unfollow";
  readonly follower: string;
  readonly followed: string;
  readonly seq: number | null;
  readonly payload: Text | null;
  readonly line: Text;
}

/** For every user. */
export class Broadcast implements AnyEvent {
  constructor(payload?: Text | null, options?: EventOptions);
  readonly kind: "broadcast";
  readonly seq: number | null;
  readonly payload: Text | null;
  readonly line: Text;
}

/** For one user. */
export class PrivateMessage implements AnyEvent {
  constructor(sender: UserId, recipient: UserId, payload?: Text | null, options?: EventOptions);
  readonly kind: "private-message";
  readonly sender: string;
  readonly recipient: string;
  readonly seq: number | null;
  readonly payload: Text | null;
  readonly line: Text;
}

/** For those who follow its author at this point of the sequence. */
export class StatusUpdate implements AnyEvent {
  constructor(author: UserId, payload?: Text | null, options?: EventOptions);
  readonly kind: "status-update";
  readonly author: string;
  readonly seq: number | null;
  readonly payload: Text | null;
  readonly line: Text;
}

export type Event = Follow | Unfollow | Broadcast | PrivateMessage | StatusUpdate;

/** Events are missing: read what you know about the user anew from where it comes from, and go on from here. */
export class Reset {
  private constructor();
  readonly kind: "reset";
  /** The new cursor. */
  readonly position: string;
  /** The server's word, such as `away` or `history`. */
  readonly reason: string;
}

/** The event in a whole line. Throws ProtocolError when it is none. */
export function parseEvent(line: Text): Event;

/** A class that makes WebSockets, such as that of the package `ws`. */
export type WebSocketClass = new (url: string) => unknown;

export interface SubscriberOptions {
  user: UserId;
  /** A cursor that was stored, to go on behind it; null or left out: begin now. */
  after?: string | null;
  /** How long there may be no answer, at first and after each break, before UnreachableError. 30; Infinity: for ever. */
  patienceS?: number;
  /**
   * How much may wait to be taken, 4 MiB. When it is more the connection is closed, and made again when all of that is
   * taken: nothing is lost as long as that comes within the time for which the place of a user is kept.
   */
  bufferBytes?: number;
  /** The only one to use. Left out: WebSocket, and server-sent events where it can't be opened twice in a row. */
  transport?: "websocket" | "sse";
  /** In place of the global one. */
  WebSocket?: WebSocketClass;
}

/**
 * The feed of one user, over as many connections as it takes: `for await (const event of feed)`.
 *
 * In a page it closes its connection while the page is frozen or in the back-forward cache, and goes on when it is back.
 */
export class Subscriber implements AsyncIterableIterator<Event | Reset> {
  /** Throws RangeError or TypeError for what makes no sense. Connects when it is opened, or asked for an event. */
  constructor(address: string | URL, options: SubscriberOptions);
  /**
   * Where the feed is: just behind what was taken last. Store it with the effect of an event, and give it back as
   * `after`. null before the server has answered.
   */
  readonly cursor: string | null;
  /** Whether there is a connection that the server has answered over; for people to see, as nothing is missed without. */
  readonly isConnected: boolean;
  /** Wait for the server's answer: what is sent from now on is received. Rejects as next() does. */
  open(): Promise<this>;
  /**
   * The next event, or Reset when some are missing. Rejects with UnreachableError, DeniedError or ProtocolError, after
   * which the feed is closed.
   */
  next(): Promise<IteratorResult<Event | Reset, undefined>>;
  /** What leaving `for await` calls: it closes the feed. */
  return(value?: undefined): Promise<IteratorResult<Event | Reset, undefined>>;
  [Symbol.asyncIterator](): this;
  /** End the feed. The place is kept for a while, so that a later one can go on behind `cursor`. */
  close(): void;
  /** End the feed and give up its place; over server-sent events that can't be said, and it is kept for a while. */
  bye(): Promise<void>;
}

export interface SourceOptions {
  /** A name of 1 to 64 letters, digits, dots, underlines and hyphens: each line is taken once, also without `seq`. */
  producer?: string;
  /** How much is kept at most for what is not acknowledged, 4 MiB; more has to wait. */
  outboxBytes?: number;
  /** How long there may be no answer, and no room in the outbox, before an error. 30; Infinity: for ever. */
  patienceS?: number;
  /** The only one to use. Left out: WebSocket, and requests (`POST /events`) where it can't be opened twice in a row. */
  transport?: "websocket" | "http";
  /** In place of the global one. */
  WebSocket?: WebSocketClass;
}

/** Sends events, over as many connections as it takes. Close it when you are done. */
export class Source {
  /** Throws RangeError or TypeError for what makes no sense. */
  constructor(address: string | URL, options?: SourceOptions);
  /** How many lines of this producer are taken, over all its connections: one that starts again goes on behind. */
  readonly received: number;
  /** The number that everything waits for, if the server has said so: send it, if it is yours. */
  readonly gap: number | null;
  /** Wait for the server's OK: then `received` is known. */
  open(): Promise<this>;
  /** Send an event; resolves when it is in Redis. Rejects with RefusedError, or with what ended the source. */
  send(event: Event): Promise<void>;
  /** Send an event soon; resolves when there is room for it. `flush` says what became of it. */
  post(event: Event): Promise<void>;
  /** Wait until everything before is in Redis. Rejects with the first RefusedError of what was posted since the last. */
  flush(): Promise<void>;
  /** End the connection, and drop what is not acknowledged: `await source.flush()` before. */
  close(): void;
}

/** The base of all errors of this library. */
export class ParadeClientError extends Error {}

/** The server said what the protocol does not allow, such as a number that came before. Report it. */
export class ProtocolError extends ParadeClientError {}

/** No server answered for `patienceS`: start it, or wait, and make another feed with what you stored. */
export class UnreachableError extends ParadeClientError {}

/** The server does not serve this peer, and trying again would not help: correct what `reason` names. */
export class DeniedError extends ParadeClientError {
  constructor(reason: string);
  readonly reason: string;
}

/** An event was not taken. `reason` is the server's word, and `line` the line as it was sent. */
export class RefusedError extends ParadeClientError {
  constructor(reason: string, line: Text);
  readonly reason: string;
  readonly line: Text;
}

/** There was no room in the outbox for `patienceS`: send what is missing, or look at `parade status`. */
export class OutboxFullError extends ParadeClientError {}

/** Another sender uses the producer's name: give each sender a name of its own. */
export class FencedError extends ParadeClientError {}

/**
 * Redis came back with older data than what this source still has: send again what your own store has.
 *
 * `wanted` is where to go on: a number, or for a producer the count of its lines that are taken.
 */
export class LostError extends ParadeClientError {
  constructor(wanted: number, message: string);
  readonly wanted: number;
}
