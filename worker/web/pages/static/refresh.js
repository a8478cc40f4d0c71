// Keeps the parts of a page that are marked data-live as they are at the server, while somebody looks.
// It asks for the same page with the mark of what is shown, and replaces only what differs.

const body = document.body;
const everyMs = Number(body.dataset.refreshS) * 1000;
const stale = document.getElementById("stale");
let etag = `"${body.dataset.etag}"`;
let shownAt = new Date();
let timer = 0;

async function look() {
  try {
    const answer = await fetch(location.href, {
      headers: { "If-None-Match": etag, Accept: "text/html" },
      cache: "no-store",
      redirect: "error",
    });
    if (answer.status !== 304) {
      if (!answer.ok) throw new Error(`the server says ${answer.status}`);
      etag = answer.headers.get("ETag") ?? "";
      show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    }
    shownAt = new Date();
    stale.hidden = true;
  } catch (error) {
    stale.textContent = `Not refreshed since ${shownAt.toISOString().slice(11, 19)} UTC: ${error.message}`;
    stale.hidden = false;
  }
}

function show(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (next === null || next.innerHTML === part.innerHTML || isInUse(part)) continue;
    keepState(part, next);
    const focused = part.contains(document.activeElement) ? pathOf(document.activeElement, part) : null;
    part.replaceChildren(...next.childNodes);
    if (focused !== null) elementAt(part, focused)?.focus({ preventScroll: true });
  }
}

// A form that somebody is filling in stays as it is, and so does text that somebody is selecting.
function isInUse(part) {
  const active = document.activeElement;
  if (active !== null && part.contains(active) && active.closest("form") !== null) return true;
  const fields = [...part.querySelectorAll("input:not([type=hidden]), textarea, select")];
  if (fields.some(isChanged)) return true;
  const selection = document.getSelection();
  return selection !== null && !selection.isCollapsed && part.contains(selection.anchorNode);
}

function isChanged(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.tagName === "SELECT") return [...field.options].some((one) => one.selected !== one.defaultSelected);
  return field.value !== field.defaultValue;
}

function keepState(part, next) {
  for (const opened of part.querySelectorAll("details[open][id]")) {
    next.querySelector(`#${CSS.escape(opened.id)}`)?.setAttribute("open", "");
  }
}

function pathOf(element, root) {
  const path = [];
  for (let one = element; one !== root; one = one.parentElement) {
    path.unshift([...one.parentElement.children].indexOf(one));
  }
  return path;
}

function elementAt(root, path) {
  return path.reduce((one, place) => one?.children[place], root);
}

function schedule() {
  clearTimeout(timer);
  if (document.hidden) return;
  timer = setTimeout(async () => {
    await look();
    schedule();
  }, everyMs);
}

document.addEventListener("visibilitychange", async () => {
  if (!document.hidden) await look();
  schedule();
});
schedule();
