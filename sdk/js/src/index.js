/** Client library of Parade: subscribers that resume, and sources with acknowledgements. types.d.ts has the meaning. */
export * from "./errors.js";
export { Broadcast, Follow, PrivateMessage, Reset, StatusUpdate, Unfollow, parseEvent } from "./events.js";
export { Source } from "./source.js";
export { Subscriber } from "./subscriber.js";
