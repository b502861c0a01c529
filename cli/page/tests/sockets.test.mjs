// The link over real sockets, with the class of npm `ws`, on loopback.

import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Link, SUBPROTOCOL } from "../keepbeat.js";
import { load } from "./modules.mjs";
import { Server, seeded } from "./world.mjs";

const { WebSocket, WebSocketServer } = load("ws");
const FAST = { WebSocket, interval: 300, replyTimeout: 150, base: 50, floor: 20, firstSpread: 30, cap: 200 };

/** The server of the virtual world behind real sockets, which can be cut and stopped. */
async function serve() {
  const server = new Server({ now: 0, random: seeded(Date.now()) });
  const listener = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols: () => SUBPROTOCOL });
  await once(listener, "listening");
  listener.on("connection", (socket) => {
    const connection = server.accept(({ data, close }) => {
      if (socket.readyState !== WebSocket.OPEN) return;
      if (data) socket.send(data);
      else socket.close(close === 1005 ? 1000 : close);
    });
    socket.on("message", (data) => connection.take({ data: new Uint8Array(data) }));
    socket.on("close", () => server.connections.delete(connection));
  });
  const cut = () => listener.clients.forEach((socket) => socket.terminate());
  const end = () => {
    cut();
    listener.close();
  };
  return { server, listener, cut, end, url: `ws://127.0.0.1:${listener.address().port}/` };
}

function event(link, name) {
  return new Promise((resolve) => link.addEventListener(name, ({ detail }) => resolve(detail), { once: true }));
}

/** All echoes, and a promise of the moment when there are so many. */
function collect(link, count) {
  const messages = [];
  const all = new Promise((resolve) => {
    link.addEventListener("message", ({ detail }) => messages.push(detail) === count && resolve(messages));
  });
  return { messages, all };
}

test("texts and bytes come back over a real WebSocket, and beats measure it", async (context) => {
  const { url, end } = await serve();
  const link = new Link({ url, ...FAST });
  context.after(() => (link.close(), end()));
  const { all } = collect(link, 3);
  link.open();
  await event(link, "up");
  link.send("grüezi");
  link.send(Uint8Array.of(1, 2, 3));
  link.send("x".repeat(300_000));
  const [text, bytes, long] = await all;
  assert.equal(text, "grüezi");
  assert.deepEqual(bytes, Uint8Array.of(1, 2, 3));
  assert.equal(long.length, 300_000);
  const { smoothed } = await event(link, "rtt");
  assert.ok(smoothed > 0, `${smoothed} ms`);
});

test("cut again and again, nothing is lost and nothing doubled", async (context) => {
  const { url, server, cut, end } = await serve();
  const link = new Link({ url, ...FAST });
  context.after(() => (link.close(), end()));
  const expected = Array.from({ length: 300 }, (_, index) => `${index}`);
  const { messages, all } = collect(link, expected.length);
  link.open();
  await event(link, "up");
  for (let from = 0; from < expected.length; from += 50) {
    const again = event(link, "up");
    for (const message of expected.slice(from, from + 50)) link.send(message);
    // Some have left, and at times some have arrived.
    if (from % 100 === 0) await event(link, "message");
    cut();
    assert.equal((await again).resumed, true);
  }
  await all;
  assert.deepEqual(messages, expected);
  assert.deepEqual(server.received, expected);
  assert.deepEqual(server.faults, []);
});

test("a server that falls silent is noticed, and when it is back nothing is missing", async (context) => {
  const { url, server, end } = await serve();
  const link = new Link({ url, ...FAST });
  context.after(() => (link.close(), end()));
  link.open();
  await event(link, "up");
  const { all } = collect(link, 1);
  server.stop();
  link.send("kept");
  await event(link, "suspect");
  const { cause } = await event(link, "down");
  assert.equal(cause.kind, "dead");
  server.proceed();
  assert.deepEqual(await all, ["kept"]);
});
