/** A connection over WebSocket. */

/** `on` is told `open()`, `data(chunk)` and, unless close() comes before, `end(problem)`. */
export function openWebSocket(Socket, url, on) {
  const socket = new Socket(url);
  socket.binaryType = "arraybuffer";
  socket.onopen = on.open;
  socket.onmessage = ({ data }) => on.data(typeof data === "string" ? data : new Uint8Array(data));
  // Some implementations leave out the close behind an error.
  socket.onclose = socket.onerror = (event) => on.end(event.reason || "the WebSocket was closed");
  return {
    send: (data) => socket.send(data),
    close() {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.onerror = () => {};
      socket.close();
    },
  };
}
