/** Addresses: `https://host:9098`, with a path in front of it if there is one; in a page also `/`. Pure. */

/** The URL of what a server has behind this address. Throws TypeError. */
export function endpoint(address, name, isSocket = false) {
  const url = new URL(address, globalThis.location?.href);
  if (!/^https?:$/.test(url.protocol)) throw new TypeError(`${address} is no address such as https://host:9098`);
  url.pathname = url.pathname.replace(/\/?$/, `/${name}`);
  url.search = url.hash = "";
  if (isSocket) url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}
