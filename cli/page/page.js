// The page of `keepbeat serve --page`: holds a link to the server that it came from, and shows it.

import { Link } from "./keepbeat.js";

const at = (id) => document.getElementById(id);
const LONGEST_LIST = 200;

// `?interval=500&reply=500&cap=2000`; what is secret goes behind `#`, which no server sees: `#credentials=...`
const asked = parameters(location.search);
const secret = parameters(location.hash);
const milliseconds = (name) => (asked.has(name) ? Number(asked.get(name)) : undefined);
// A configuration that cannot be is told where the state stands.
addEventListener("error", ({ message }) => (at("state").textContent = message));
const link = new Link({
  url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${location.pathname}`,
  device: asked.get("device") ?? undefined,
  credentials: secret.get("credentials") ?? undefined,
  interval: milliseconds("interval"),
  idleLimit: milliseconds("idle"),
  replyTimeout: milliseconds("reply"),
  cap: milliseconds("cap"),
  connectTimeout: milliseconds("connect"),
  handshakeTimeout: milliseconds("handshake"),
});

const counts = { accepted: 0, acknowledged: 0, dropped: 0, echoed: 0, lost: 0, unexpected: 0, suspicions: 0, reconnects: 0 };
/** The names of the last events, beats and messages left out, for tests. */
const events = [];
/** Messages without their echo, oldest first. */
const expected = [];
/** The last beats, newest last: `{ last }` once measured, `{ lost }` if they never will be. */
let beats = [];
let terms = "";
let wasUp = false;
window.keepbeatPage = { link, counts, events };

const seconds = (ms) => `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;

const listeners = {
  connecting: ({ attempt }) => log(`attempt ${attempt}`),
  up: (detail) => {
    const [interval, bound] = [seconds(detail.interval), seconds(detail.worstCaseDetection)];
    terms = `a beat at least every ${interval}, a dead server noticed within ${bound}`;
    counts.reconnects += wasUp ? 1 : 0;
    wasUp = true;
    const doubt = detail.inDoubt > 0 ? `; ${detail.inDoubt} messages may arrive twice` : "";
    log(`up after ${seconds(detail.took)}, ${detail.resumed ? "session resumed" : "new session"}${doubt}`);
  },
  down: ({ cause, retryAt, conflict }) => {
    endBeats();
    const then = retryAt === null ? "" : `; again in ${seconds(retryAt - Date.now())}`;
    log(`${cause.text}${then}${conflict ? "; others use the same device id" : ""}`);
  },
  suspect: ({ silentFor }) => {
    counts.suspicions += 1;
    log(`suspect: silent for ${seconds(silentFor)}`);
  },
  recovered: () => log("recovered"),
  beat: () => {
    beats = [...beats, {}].slice(-60);
  },
  rtt: ({ last }) => {
    beats.at(-1).last = last;
  },
  message: (message) => {
    const index = expected.findIndex(({ line }) => line === message);
    if (index < 0) {
      counts.unexpected += 1;
      item("messages", "not expected", typeof message === "string" ? message : `${message.length} bytes`);
      return;
    }
    // Echoes come in order, so those before it never will.
    for (const { show } of expected.splice(0, index)) show("no echo");
    counts.lost += index;
    counts.echoed += 1;
    expected.shift().show("echoed");
  },
  acknowledged: ({ through, count }) => {
    counts.acknowledged += count;
    for (const { ticket, show } of expected) if (ticket <= through) show("acknowledged");
  },
  dropped: ({ ticket, payload, reason }) => {
    counts.dropped += 1;
    // At times before its sender has got the ticket.
    const isIt = (message) => message.ticket === ticket || (message.ticket === Infinity && message.line === payload);
    giveUp(expected.find(isIt), `dropped: ${reason}`);
  },
  online: () => log("the browser is online"),
  offline: () => log("the browser is offline"),
  gaveUp: ({ cause }) => {
    wasUp = false;
    log(`gave up: ${cause.text}`);
  },
  closed: () => {
    wasUp = false;
    endBeats();
    log("closed");
  },
};
for (const [name, listener] of Object.entries(listeners)) {
  link.addEventListener(name, ({ detail }) => {
    if (!["beat", "rtt", "message", "acknowledged"].includes(name)) events.push(name);
    if (events.length > 1000) events.shift();
    listener(detail);
    show();
  });
}

at("toggle").addEventListener("click", () => {
  if (isOver()) link.open();
  else link.close();
  show();
});
at("retry").addEventListener("click", () => link.retryNow());
at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send(at("line").value);
  at("line").value = "";
});
window.keepbeatPage.send = send;

async function send(line) {
  const status = item("messages", "waits", line);
  const message = { line, ticket: Infinity, show: (text) => (status.textContent = text) };
  expected.push(message);
  try {
    message.ticket = await link.send(line);
    counts.accepted += 1;
  } catch (error) {
    giveUp(message, `not accepted: ${error.message}`);
  }
  show();
}

/** No echo of this message is to come any more. */
function giveUp(message, why) {
  if (!expected.includes(message)) return;
  expected.splice(expected.indexOf(message), 1);
  message.show(why);
}

/** Beats of a connection that has ended are not measured any more. */
function endBeats() {
  for (const beat of beats) beat.lost ||= beat.last === undefined;
}

/** `+` stands for itself. */
function parameters(text) {
  return new URLSearchParams(text.replace(/^[?#]/, "").replaceAll("+", "%2B"));
}

function log(text) {
  item("log", new Date().toLocaleTimeString(), text);
}

/** A new first line of a list. Returns the element of its status. */
function item(list, status, text) {
  const line = document.createElement("li");
  const small = document.createElement(list === "log" ? "time" : "small");
  small.textContent = status;
  line.append(small, " ", text);
  at(list).prepend(line);
  while (at(list).children.length > LONGEST_LIST) at(list).lastChild.remove();
  return small;
}

function isOver() {
  return link.state === "closed" || link.state === "gaveUp";
}

/** Writes only what is new, so that a screen reader is not told the same again. */
function write(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

function show() {
  const state = link.suspect ? "suspect" : link.state;
  at("state").dataset.state = state;
  write("state", { suspect: "up, suspect", gaveUp: "gave up" }[state] ?? state);
  const wait = link.retryAt === null ? 0 : Math.max(0, link.retryAt - Date.now());
  const next = { waiting: `attempt ${link.attempt} in ${seconds(wait)}`, connecting: `attempt ${link.attempt}` }[state] ?? "";
  write("next", `${next}${link.offline ? `${next && "; "}the browser is offline` : ""}`);
  write("toggle", isOver() ? "Open" : "Close");
  at("retry").disabled = link.state !== "waiting";
  const { rtt, beats: { sent, answered } } = link;
  write("beats", `${sent} sent, ${answered} answered`);
  const [smoothed, variation, last] = rtt ? [rtt.smoothed, rtt.variation, rtt.last].map((ms) => ms.toFixed(1)) : [];
  write("rtt", rtt ? `${smoothed} ms ± ${variation}, last ${last}` : "not measured");
  write("terms", link.state === "up" ? terms : "not agreed");
  for (const [name, count] of Object.entries(counts)) write(name, `${count}`);
  showStrip();
}

function showStrip() {
  const highest = Math.max(...beats.map(({ last = 0 }) => last), 1);
  const bars = beats.map(({ last, lost }) => {
    const bar = document.createElement("i");
    if (last === undefined) bar.className = lost ? "lost" : "waiting";
    else bar.style.height = `${Math.max(6, (100 * last) / highest)}%`;
    return bar;
  });
  at("strip").replaceChildren(...bars);
}

setInterval(() => link.state === "waiting" && show(), 200);
link.open();
show();
