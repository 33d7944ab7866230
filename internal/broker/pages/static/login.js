// What all pages share. It runs before the body is there: the first thing that
// happens is that the secret leaves the address bar and the history.
"use strict";

const taken = { fragment: location.hash.slice(1), state: history.state };
if (location.href.includes("#")) history.replaceState(null, "", location.pathname);

// Another link opened in this tab differs in its fragment only, and browsers do
// not load the page again for that.
addEventListener("hashchange", () => location.reload());

const by = (id) => document.getElementById(id);

/** Shows one section alone. */
function show(id) {
  for (const s of ["ask", "signed", "done", "error"]) if (by(s)) by(s).hidden = s !== id;
  say("");
}

function say(text) {
  if (by("status")) by("status").textContent = text;
}

/** Says what is wrong: alone, or below what may be tried again. */
function fail(title, text, again = false) {
  if (!again) show("error");
  say("");
  by("error-title").textContent = title;
  by("error-title").ariaLevel = again ? "2" : "1";
  by("error-text").textContent = text;
  by("error").hidden = false;
  for (const b of document.querySelectorAll("button")) b.disabled = false;
}

/** An answer of the broker that is not the wanted one. */
class Refusal extends Error {
  constructor(status, problem) {
    super(problem.title || "the broker answers " + status);
    this.status = status;
    this.problem = problem;
  }
}

/** Posts JSON to the broker. Throws a Refusal, or what fetch throws. */
async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json", Accept: "application/json" }, body: JSON.stringify(body),
    cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refusal(answer.status, said);
  return said;
}

/** Runs what a button does, once at a time, and says what came of it. */
async function run(doing, work, explain) {
  for (const b of document.querySelectorAll("#ask button")) b.disabled = true;
  by("error").hidden = true;
  say(doing);
  try {
    await work();
  } catch (e) {
    if (explain && explain(e)) return;
    if (!(e instanceof Refusal)) {
      fail("The broker cannot be reached", "Look at your network connection, then press the button again.", true);
    } else if (e.status === 429) {
      fail("Too many tries", "Wait a minute, then press the button again.", true);
    } else if (e.status >= 500) {
      fail("The broker could not sign you in just now", "Wait a moment, then press the button again.", true);
    } else {
      fail("The login was refused, or has ended", "A login works once and for a few minutes. Run agentkeys login again on the device that asked.");
    }
  }
}

/** Ends a login: to the device by loopback where it listens, and by a code. */
function handOff(login, handoff) {
  const port = handoff.loopback_port;
  const returns = Number.isInteger(port) && port > 0 && port < 65536;
  // If nobody listens there, the person comes back to this page for the code.
  history.replaceState({ code: handoff.code, returns }, "", location.pathname);
  showCode(handoff.code, returns);
  if (returns) location.assign(`http://127.0.0.1:${port}/login?${new URLSearchParams({ login, code: handoff.code })}`);
}

function showCode(code, returns) {
  by("code").textContent = code.length === 8 ? code.slice(0, 4) + "-" + code.slice(4) : code;
  by("returning").hidden = !returns;
  show("done");
  by("done-title").focus();
}

/** Begins a page: with begin, for a link that is whole. */
function start(pattern, begin) {
  for (const b of document.querySelectorAll("button[data-copies]")) b.addEventListener("click", () => copy(b));
  const parts = pattern.exec(taken.fragment);
  if (parts) {
    show("ask");
    begin(...parts.slice(1));
  } else if (taken.fragment === "" && taken.state && typeof taken.state.code === "string") {
    showCode(taken.state.code, taken.state.returns === true);
  } else if (taken.fragment === "") {
    fail("The link is not whole, or was opened already", "Open the whole link again where you got it. It works once.");
  } else {
    fail("The link is not whole", "It was cut or changed on its way. Copy the whole link, to its last letter.");
  }
}

async function copy(button) {
  const text = by(button.dataset.copies);
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(text);
    button.textContent = "Selected: now copy it";
  }
  setTimeout(() => { button.textContent = label; }, 2500);
}
