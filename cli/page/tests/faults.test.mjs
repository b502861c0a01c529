// Schedules of faults from seeds: within a session, nothing lost, nothing doubled, in order. KEEPBEAT_SEED replays one,
// KEEPBEAT_SEEDS tries more.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Reason, Type, World } from "./world.mjs";

const only = process.env.KEEPBEAT_SEED;
const count = Number(process.env.KEEPBEAT_SEEDS ?? 2000);
const seeds = only ? [Number(only)] : Array.from({ length: count }, (_, seed) => seed);

/** Runs the faults of a seed, and some that end sessions, too. Checks what holds in both cases. */
function schedule(seed, endings) {
  const world = new World(seed);
  const { random, server } = world;
  const { link, messages, all } = world.link({ interval: 1000, replyTimeout: 400, cap: 3000, outbox: { messages: 50 } });
  let sent = 0;
  let pushed = 0;
  server.echo = false;
  const push = () => {
    pushed += 1;
    const [session] = server.sessions.values();
    if (session) server.send(session, Type.TEXT, `${pushed}`);
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
    ...endings.map((end) => () => end(world, link)),
  ];
  link.open();
  for (let step = 0; step < 60; step += 1) {
    if (random() < 0.5 && link.unacknowledged < 50) link.send(`${(sent += 1)}`);
    if (random() < 0.3) push();
    if (random() < 0.4) faults[Math.floor(random() * faults.length)]();
    world.run(random() * 500);
  }
  world.closeHole();
  Object.assign(world, { listening: true, clamp: 1, latency: 5, kernel: Infinity });
  server.proceed();
  const isTold = () => [...server.sessions.values()].every(({ out }) => out.length === 0);
  world.runUntil(() => link.state === "up" && link.unacknowledged === 0 && isTold(), 120_000, 50);
  assert.deepEqual(server.faults, []);
  const [up, down] = [server.received.map(Number), messages().map(Number)];
  const inDoubt = all("up").reduce((sum, { detail }) => sum + detail.inDoubt, 0);
  assert.deepEqual([...new Set(up)], numbers(sent), "every message arrives, in order");
  assert.ok(up.length - sent <= inDoubt, `${up.length - sent} arrived again, ${inDoubt} were in doubt`);
  assert.ok(down.every((number, index) => index === 0 || number > down[index - 1]), `${down}`);
  const ups = all("up").length;
  const resumed = all("up").filter(({ detail }) => detail.resumed).length;
  const dead = all("down").filter(({ detail }) => detail.cause.kind === "dead").length;
  return { ups, resumed, dead, again: up.length - sent, lost: pushed - down.length };
}

const numbers = (last) => Array.from({ length: last }, (_, index) => index + 1);

function total(check, endings) {
  const total = { ups: 0, resumed: 0, dead: 0, again: 0, lost: 0 };
  for (const seed of seeds) {
    try {
      const result = schedule(seed, endings);
      check(result);
      for (const name of Object.keys(total)) total[name] += result[name];
    } catch (error) {
      error.message = `KEEPBEAT_SEED=${seed}: ${error.message}`;
      throw error;
    }
  }
  return total;
}

// Each proves nothing unless the faults bite.

test(`${seeds.length} schedules of faults lose nothing and double nothing`, () => {
  const sum = total(({ ups, resumed, again, lost }) => {
    assert.deepEqual({ resumed, again, lost }, { resumed: ups - 1, again: 0, lost: 0 });
  }, []);
  if (!only) assert.ok(sum.ups > 3 * seeds.length && sum.dead > seeds.length / 5, JSON.stringify(sum));
});

test(`${seeds.length} schedules that end sessions lose nothing of ours, and double no more than they say`, () => {
  const endings = [(_, link) => (link.close(), link.open()), (world) => world.crash({ keep: false })];
  const sum = total(() => {}, endings);
  const bites = sum.resumed > seeds.length / 2 && sum.again > seeds.length / 5 && sum.lost > seeds.length / 5;
  if (!only) assert.ok(bites, JSON.stringify(sum));
});
