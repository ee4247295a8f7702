/** Tells when a page is frozen or goes into the back-forward cache, when it comes back, and when the network does. */

/**
 * Watch until the function that is returned is called. Where there is no page nothing is ever told.
 *
 * A page that comes out of the back-forward cache may be told both `resume` and `pageshow`.
 */
export function watchPage(onHide, onShow, onNetwork) {
  const found = [
    [globalThis, "pagehide", (event) => event.persisted && onHide()],
    [globalThis, "pageshow", (event) => event.persisted && onShow()],
    [globalThis, "online", onNetwork],
    [globalThis.document, "freeze", onHide],
    [globalThis.document, "resume", onShow],
  ].filter(([target]) => target?.addEventListener);
  for (const [target, name, tell] of found) target.addEventListener(name, tell);
  return () => found.forEach(([target, name, tell]) => target.removeEventListener(name, tell));
}
