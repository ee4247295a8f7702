// The feed of one person. `#2` at the end of the address says who: each window can be somebody else.
import { Subscriber } from "../parade-client/subscriber.js";

const MOST_ITEMS = 50;
const { people, webPort } = await (await fetch("settings")).json();
const $ = (id) => document.getElementById(id);
const ids = Object.keys(people);

let me;
let feed; // the Subscriber of this window
let shown; // what it shows, the newest first, and the cursor behind it

// What comes from Parade

/** Take notifications until somebody else is chosen. Broken connections are the library's work. */
async function follow(mine) {
  try {
    await mine.open();
    if (mine === feed) store(); // now, so that a reload before the first item leaves nothing out
    for await (const event of mine) {
      if (mine !== feed) return;
      show(itemOf(event));
    }
  } catch (problem) {
    if (mine === feed) tell(problem.message);
  }
}

function itemOf(event) {
  switch (event.kind) {
    case "follow":
      return { by: event.follower, what: "follows you", seq: event.seq };
    case "private-message":
      return { by: event.sender, what: "to you", text: textOf(event), seq: event.seq };
    case "status-update":
      return { by: event.author, what: "", text: textOf(event), seq: event.seq };
    case "reset":
      return { by: null, what: "Something is missing here: you were away for too long." };
    default:
      return { by: null, what: "to everybody", text: textOf(event), seq: event.seq };
  }
}

/** The backend puts a text into JSON, since a line can't have a line end in it. Others may send anything. */
function textOf({ payload }) {
  try {
    return String(JSON.parse(payload).text);
  } catch {
    return String(payload ?? "");
  }
}

// What this window shows. The cursor is stored in the same step as what it stands behind: after a reload nothing is
// missing, and nothing is there twice.

function show(item) {
  shown.items = [item, ...shown.items].slice(0, MOST_ITEMS);
  store();
  $("feed").prepend(cardOf(item));
  while ($("feed").children.length > MOST_ITEMS) $("feed").lastChild.remove();
}

function store() {
  shown.cursor = feed.cursor ?? shown.cursor;
  sessionStorage.setItem(`feed of ${me}`, JSON.stringify(shown));
}

function cardOf({ by, what, text, seq, isMine }) {
  const who = isMine ? "You" : people[by] ?? (by === null ? "" : `user ${by}`);
  const line = element("p", {}, [element("b", { textContent: who }), ` ${what}`]);
  const number = seq ? [element("small", { textContent: `#${seq}` })] : [];
  const said = text === undefined ? [] : [element("p", { textContent: text })];
  return element("li", { className: isMine ? "mine" : "" }, [face(by), element("div", {}, [line, ...said]), ...number]);
}

function face(id) {
  const made = element("span", { className: "face", textContent: (people[id] ?? "!")[0], ariaHidden: "true" });
  made.style.setProperty("--hue", (Number(id) || 0) * 57);
  return made;
}

// What this person does

async function act(what) {
  tell("");
  const body = JSON.stringify({ from: Number(me), ...what });
  try {
    const answer = await fetch("events", { method: "POST", body });
    if (!answer.ok) throw new Error(await answer.text());
    return true;
  } catch (problem) {
    tell(`That did not work: ${problem.message}`);
    return false;
  }
}

/** What was last tried to be said, and the id by which the backend knows it when it is sent again. */
let said = {};

$("say").addEventListener("submit", async (submission) => {
  submission.preventDefault();
  const [text, to, button] = [$("text").value, $("to").value, $("say").querySelector("button")];
  const draft = JSON.stringify([me, to, text]);
  if (said.draft !== draft) said = { draft, id: `${Date.now()} ${Math.random()}` };
  button.disabled = true;
  const isDone = await act({ id: said.id, text, ...(to ? { kind: "message", to: Number(to) } : { kind: "post" }) });
  button.disabled = false;
  if (!isDone) return;
  said = {};
  show({ by: me, isMine: true, what: to ? `to ${people[to]}` : "to your followers", text: text.trim() });
  $("say").reset();
  $("text").focus();
});

async function toggle(button, id) {
  const followed = followedBy(me);
  const isFollowed = followed.has(id);
  button.disabled = true;
  if (await act({ kind: isFollowed ? "unfollow" : "follow", to: Number(id) })) {
    isFollowed ? followed.delete(id) : followed.add(id);
    localStorage.setItem(`followed by ${me}`, JSON.stringify([...followed]));
  }
  showPeople();
  // The button is another one now; who came to it by keyboard stays there.
  if (document.activeElement === document.body) $("people").querySelector(`[value="${id}"]`)?.focus();
}

/** Parade has the graph for its own use; an application knows whom its users follow. Here the page remembers it. */
const followedBy = (id) => new Set(JSON.parse(localStorage.getItem(`followed by ${id}`) ?? "[]"));

function showPeople() {
  const followed = followedBy(me);
  $("people").replaceChildren(
    ...ids.filter((id) => id !== me).map((id) => {
      const isFollowed = followed.has(id);
      const button = element("button", { type: "button", value: id, textContent: isFollowed ? "Unfollow" : "Follow", ariaPressed: String(isFollowed) });
      button.setAttribute("aria-label", `${button.textContent} ${people[id]}`);
      button.addEventListener("click", () => toggle(button, id));
      return element("li", {}, [face(id), element("b", { textContent: people[id] }), button]);
    }),
  );
}

// Who this is

async function become(id) {
  feed?.close();
  me = id;
  shown = JSON.parse(sessionStorage.getItem(`feed of ${me}`)) ?? { items: [], cursor: null };
  feed = new Subscriber(`${location.protocol}//${location.hostname}:${webPort}`, { user: me, after: shown.cursor, patienceS: Infinity });
  document.title = `Feed of ${people[me]}`;
  $("who").value = me;
  $("other").href = `#${ids[ids.indexOf(me) + 1] ?? ids[0]}`;
  $("to").replaceChildren(option("", "your followers"), ...ids.filter((each) => each !== me).map((each) => option(each, people[each])));
  $("feed").replaceChildren(...shown.items.map(cardOf));
  tell("");
  showPeople();
  follow(feed);
}

const wanted = () => (ids.includes(location.hash.slice(1)) ? location.hash.slice(1) : ids[0]);

// Small things

function element(name, properties, children = []) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const option = (value, text) => element("option", { value, textContent: text });
const tell = (problem) => ($("problem").textContent = problem);

/** Without a connection nothing is missed, so a short time without one is not worth a word. */
function showLink() {
  const state = feed.isConnected ? "" : "connecting …";
  if ($("link").textContent !== state) $("link").textContent = state;
}

$("who").replaceChildren(...ids.map((id) => option(id, people[id])));
$("who").addEventListener("change", () => (location.hash = $("who").value));
addEventListener("hashchange", () => become(wanted()));
become(wanted());
setInterval(showLink, 1000);
