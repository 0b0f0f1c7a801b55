// The page: log in with the key once, ask for an agent, show its invite. No key is kept; a cookie is.
"use strict";

const WAIT_S = 20;
const el = (id) => document.getElementById(id);
const show = (id, visible) => { el(id).hidden = !visible; };
const say = (id, text) => { el(id).textContent = text; show(id, Boolean(text)); };

async function call(method, path, body, headers = {}) {
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Error("The server cannot be reached.");
  }
  const said = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (response.status === 401 && path !== "/login") loggedOut();
  if (!response.ok) {
    const error = new Error(said.error || `The server answered ${response.status}.`);
    error.status = response.status;
    throw error;
  }
  return { status: response.status, said, location: response.headers.get("Location") };
}

function loggedOut() {
  ["ask", "served", "log-out", "counts"].forEach((id) => show(id, false));
  say("progress", "");
  show("log-in", true);
  el("key").focus();
}

async function refresh() {
  const { said } = await call("GET", "/api/pool/status");
  const { idle, provisioning, claimed, failed, waiting } = said.counts;
  const rare = (failed ? `, ${failed} failed` : "") + (waiting ? `, ${waiting} waiting` : "");
  say("counts", `${idle} idle, ${provisioning} starting, ${claimed} claimed${rare}`);
}

async function enter() {
  await refresh();
  show("log-in", false);
  show("log-out", true);
  if (el("served").hidden) show("ask", true);
}

// The key of a wish: sent again after a failure it can only ever get the one agent.
let wish = { text: "", key: "" };
function keyFor(body) {
  const text = JSON.stringify(body);
  if (wish.text !== text) {
    const random = crypto.getRandomValues(new Uint8Array(16));
    wish = { text, key: Array.from(random, (b) => b.toString(16).padStart(2, "0")).join("") };
  }
  return wish.key;
}

function waitingText({ phase, position }) {
  if (phase === "Bound") return "An agent was found and is being told its instructions…";
  return position > 1 ? `Waiting for an agent; ${position - 1} before you…` : "Waiting for an agent; you are next…";
}

async function claim(body) {
  const headers = { "Idempotency-Key": keyFor(body), Prefer: `wait=${WAIT_S}` };
  say("progress", "Asking for an agent…");
  let { said, location } = await call("POST", "/api/pool/claim", body, headers);
  while (said.phase === "Pending" || said.phase === "Bound") {
    say("progress", waitingText(said));
    ({ said } = await call("GET", `${location}?wait=${WAIT_S}`));
  }
  if (said.phase === "Failed") throw failed(said.message || said.reason);
  return said;
}

function failed(why) {
  const error = new Error(why || "The claim failed.");
  error.status = 500;
  return error;
}

function present(name, said) {
  el("served-title").textContent = `${name} is ready`;
  show("qr", Boolean(said.qrDataUrl));
  if (said.qrDataUrl) el("qr").src = said.qrDataUrl;
  el("invite").textContent = said.inviteUrl || "";
  // Only ever a link to a page: an invite comes from an agent.
  if (/^https:\/\//.test(said.inviteUrl || "")) el("invite").href = said.inviteUrl;
  else el("invite").removeAttribute("href");
  el("conversation").textContent = said.conversationId || "";
  el("instance").textContent = said.instanceId || "";
  show("ask", false);
  show("served", true);
  el("served-title").focus();
}

async function guarded(form, work) {
  const buttons = form.querySelectorAll("button");
  say("error", "");
  buttons.forEach((button) => { button.disabled = true; });
  try {
    await work();
  } catch (error) {
    say("error", error.message);
  } finally {
    say("progress", "");
    buttons.forEach((button) => { button.disabled = false; });
  }
}

el("log-in").addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(el("log-in"), async () => {
    const key = el("key").value;
    el("key").value = "";
    await call("POST", "/login", { key });
    await enter();
    el("name").focus();
  });
});

el("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(el("ask"), async () => {
    const body = { agentId: el("name").value.trim(), instructions: el("instructions").value };
    try {
      present(body.agentId, await claim(body));
      wish = { text: "", key: "" };
    } catch (error) {
      // Failed for good: the next try is another wish. After anything else it is the same one.
      if (error.status === 500) wish = { text: "", key: "" };
      throw error;
    }
    await refresh();
  });
});

el("another").addEventListener("click", () => {
  show("served", false);
  show("ask", true);
  el("ask").reset();
  el("name").focus();
});

el("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(el("invite").textContent);
    el("copy").textContent = "Copied";
  } catch {
    el("copy").textContent = "Copy it by hand, please";
  }
  setTimeout(() => { el("copy").textContent = "Copy the invite"; }, 2000);
});

el("log-out").addEventListener("click", () => {
  guarded(document.body, async () => {
    await call("POST", "/logout");
    loggedOut();
  });
});

enter().catch((error) => {
  if (error.status !== 401) {
    say("error", error.message);
    show("log-in", true);
  }
});
