// Schedules of faults from seeds: nothing lost, nothing doubled, in order. KEEPBEAT_SEED replays one, KEEPBEAT_SEEDS tries more.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Reason, Type, World } from "./world.mjs";

const only = process.env.KEEPBEAT_SEED;
const count = Number(process.env.KEEPBEAT_SEEDS ?? 2000);
const seeds = only ? [Number(only)] : Array.from({ length: count }, (_, seed) => seed);

function schedule(seed) {
  const world = new World(seed);
  const { random, server } = world;
  const { link, messages, all } = world.link({ interval: 1000, replyTimeout: 400, cap: 3000, outbox: { messages: 50 } });
  let sent = 0;
  let pushed = 0;
  server.echo = false;
  const push = () => {
    pushed += 1;
    const [session] = server.sessions.values();
    if (session) server.send(session, Type.TEXT, `down ${pushed}`);
    else pushed -= 1;
  };
  const faults = [
    () => world.openHole(), () => world.closeHole(),
    () => world.crash(), () => (world.listening = true), () => (world.listening = true),
    () => server.sayToAll({ type: Type.GOODBYE, reason: Reason.GoingAway, retryAfter: 200, spread: 300 }),
    () => server.newest?.send({ close: 1012 }),
    () => (world.frozenUntil = world.now + random() * 4000),
    () => (world.clamp = random() < 0.5 ? 1 : 1000),
    () => (world.latency = random() * 150),
    () => (world.kernel = random() < 0.5 ? Infinity : 10),
    () => (random() < 0.3 ? server.stop() : server.proceed()),
    () => link.retryNow(),
    () => (link.close(), link.open()),
  ];
  link.open();
  for (let step = 0; step < 60; step += 1) {
    if (random() < 0.5 && link.unacknowledged < 50) link.send(`up ${(sent += 1)}`);
    if (random() < 0.3) push();
    if (random() < 0.4) faults[Math.floor(random() * faults.length)]();
    world.run(random() * 500);
  }
  world.closeHole();
  Object.assign(world, { listening: true, clamp: 1, latency: 5, kernel: Infinity });
  server.proceed();
  world.runUntil(() => link.state === "up" && link.unacknowledged === 0 && messages().length === pushed, 120_000, 50);
  const numbered = (word, last) => Array.from({ length: last }, (_, index) => `${word} ${index + 1}`);
  assert.deepEqual(server.faults, []);
  assert.deepEqual(server.received, numbered("up", sent));
  assert.deepEqual(messages(), numbered("down", pushed));
  assert.ok(all("up").slice(1).every(({ detail }) => detail.resumed), "the server forgets no session");
  const dead = all("down").filter(({ detail }) => detail.cause.kind === "dead").length;
  return { ups: all("up").length, dead };
}

test(`${seeds.length} schedules of faults lose nothing and double nothing`, () => {
  const total = { ups: 0, dead: 0 };
  for (const seed of seeds) {
    try {
      for (const [name, value] of Object.entries(schedule(seed))) total[name] += value;
    } catch (error) {
      error.message = `KEEPBEAT_SEED=${seed}: ${error.message}`;
      throw error;
    }
  }
  // It proves nothing unless the faults bite.
  if (!only) assert.ok(total.ups > 3 * seeds.length && total.dead > seeds.length / 5, JSON.stringify(total));
});
