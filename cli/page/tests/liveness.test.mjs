// Verdicts: in time, and never a false one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { clock } from "../keepbeat.js";
import { Reason, Type, World } from "./world.mjs";

const TERMS = { interval: 5000, replyTimeout: 2000 };
const BOUND = 5000 + 2 * 2000;

function up(options = {}, seed = 1) {
  const world = new World(seed);
  const page = world.link({ ...TERMS, ...options });
  page.link.open();
  world.runUntil(() => page.link.state === "up");
  return { world, server: world.server, ...page };
}

test("beats leave at the interval, shortened by at most a tenth, and measure the round trip", () => {
  const { world, link, server, all } = up();
  world.run(60_000);
  const { beats } = server.newest;
  const gaps = beats.slice(1).map((at, index) => at - beats[index]);
  assert.ok(gaps.length >= 11 && gaps.every((gap) => gap >= 4499 && gap <= 5001), `${gaps}`);
  assert.ok(new Set(gaps).size > 5, "they are spread");
  assert.deepEqual([link.rtt.smoothed, link.rtt.last], [20, 20]);
  assert.equal(link.beats.answered, all("rtt").length);
  assert.equal(all("suspect").length, 0);
});

test("the first beats of many links are spread over the second half of the interval", () => {
  const firsts = Array.from({ length: 200 }, (_, seed) => {
    const { all, last, world } = up({}, seed);
    world.run(6000);
    return all("beat")[0].at - last("up").at;
  });
  assert.ok(Math.min(...firsts) >= 2500 && Math.min(...firsts) < 2600);
  assert.ok(Math.max(...firsts) <= 5001 && Math.max(...firsts) > 4900);
});

test("a dead server is noticed inside the bound, whenever it dies: 2000 seeds", () => {
  const times = [];
  for (let seed = 0; seed < 2000; seed += 1) {
    const { world, server, last, all } = up({}, seed);
    world.run(world.random() * 20_000);
    server.stop();
    const died = world.now;
    world.runUntil(() => all("down").length > 0, 20_000, 100);
    assert.equal(last("down").detail.cause.kind, "dead");
    times.push(last("down").at - died);
    assert.ok(all("suspect").length === 1 && last("suspect").at <= last("down").at);
  }
  assert.ok(Math.max(...times) <= BOUND + 2, `${Math.max(...times)} ms`);
  assert.ok(Math.min(...times) > 2000, `${Math.min(...times)} ms`);
});

test("beats that follow each other faster than answers are due do not put the verdict off", () => {
  for (let seed = 0; seed < 200; seed += 1) {
    const { world, server, last } = up({ interval: 2000, replyTimeout: 2000 }, seed);
    world.run(world.random() * 10_000);
    server.stop();
    const died = world.now;
    world.runUntil(() => last("down"), 10_000, 100);
    assert.ok(last("down").at - died <= 6002, `seed ${seed}: ${last("down").at - died} ms`);
  }
});

test("a suspect that answers a probe is alive, and its messages come through", () => {
  const { world, server, last, all, link, messages } = up();
  server.stop();
  world.runUntil(() => all("suspect").length > 0);
  assert.equal(link.suspect, true);
  server.proceed();
  world.run(1500);
  assert.equal(link.suspect, false);
  assert.equal(all("recovered").length, 1);
  link.send("still here");
  world.run(1000);
  assert.deepEqual(messages(), ["still here"]);
  assert.equal(last("down"), undefined);
});

test("a hole that ends in time costs nothing, and one that does not costs one reconnect and no message", () => {
  const { world, all, link, messages } = up();
  world.openHole();
  link.send("through the first");
  world.run(1500);
  world.closeHole();
  world.run(10_000);
  assert.equal(all("down").length, 0);
  world.openHole();
  link.send("through the second");
  world.runUntil(() => all("down").length > 0, BOUND + 100);
  world.closeHole();
  world.run(60_000);
  assert.equal(link.state, "up");
  assert.deepEqual(messages(), ["through the first", "through the second"]);
});

test("a suspect that recovers by its last chance is asked again in time", () => {
  const { world, server, all } = up();
  // It answers no beat, and says something else once all probes are out.
  server.hear = () => {};
  world.runUntil(() => all("suspect").length > 0);
  world.runUntil(() => all("beat").length === 4);
  server.say(server.newest, { type: Type.ACK, seq: 0 });
  world.run(100);
  assert.equal(all("recovered").length, 1);
  world.run(5000);
  assert.equal(all("beat").length, 5);
});

test("an answer that comes twice counts once, and one that nobody asked for does not count", () => {
  const { world, link, server } = up();
  const say = server.say.bind(server);
  server.say = (connection, frame) => say(connection, frame, frame, { type: Type.ECHO, seq: 1000 });
  world.run(30_000);
  assert.ok(link.beats.answered > 4);
  assert.equal(link.beats.answered, link.beats.sent);
});

test("anything that arrives is life", () => {
  const { world, server, all } = up();
  // It answers no beat, and says other things.
  server.hear = () => {};
  const timer = () => {
    server.say(server.newest, { type: Type.ACK, seq: 0 });
    world.after(1500, timer);
  };
  timer();
  world.run(120_000);
  assert.equal(all("down").length + all("suspect").length, 0);
});

test("the server's beats are answered with the newest number, and a flood of them ends the connection", () => {
  const { world, server, all, last } = up();
  const echoes = [];
  const hear = server.hear.bind(server);
  server.hear = (connection, frame) => (frame.type === Type.ECHO ? echoes.push(frame.seq) : hear(connection, frame));
  server.say(server.newest, ...[1, 2, 3].map((seq) => ({ type: Type.BEAT, seq })));
  world.run(100);
  assert.deepEqual(echoes, [3]);
  for (let seq = 4; seq < 32; seq += 1) server.say(server.newest, { type: Type.BEAT, seq });
  world.run(100);
  assert.equal(all("down").length, 0);
  for (let seq = 32; seq < 64; seq += 1) server.say(server.newest, { type: Type.BEAT, seq });
  world.run(100);
  assert.equal(last("down").detail.cause.kind, "flood");
  assert.equal(server.goodbyes[0].reason, Reason.Flood);
});

test("the reply deadline runs from when the beat has left", () => {
  const { world, all, link } = up();
  const [socket] = world.sockets;
  let stuck = 0;
  Object.defineProperty(socket, "bufferedAmount", { get: () => stuck });
  // The beat leaves after 1.9 s, and its answer comes after 1.8 s more; 2 s are allowed for each.
  world.latency = 3690;
  link.addEventListener("beat", () => {
    stuck = 2;
    world.latency = 10;
    world.after(1900, () => (stuck = 0));
  }, { once: true });
  world.runUntil(() => all("beat").length > 0);
  world.run(4000);
  assert.equal(link.beats.answered, 1);
  assert.equal(all("suspect").length, 0);
});

test("the round trip of a beat counts from when it was sent, if nothing was before it", () => {
  const { world, all, link } = up();
  let sent = null;
  Object.defineProperty(world.sockets[0], "bufferedAmount", { get: () => (sent === world.now ? 2 : 0) });
  link.addEventListener("beat", () => (sent = world.now));
  world.runUntil(() => all("rtt").length === 3);
  assert.deepEqual(all("rtt").map(({ detail }) => detail.last), [20, 20, 20]);
});

test("that a beat has left is seen soon", () => {
  const { world, server, all, link, last } = up();
  let stuck = 0;
  Object.defineProperty(world.sockets[0], "bufferedAmount", { get: () => stuck });
  link.addEventListener("beat", () => {
    stuck = 2;
    world.after(50, () => (stuck = 0));
  }, { once: true });
  server.stop();
  world.runUntil(() => all("suspect").length > 0);
  assert.ok(last("suspect").at - all("beat")[0].at <= 2000 + 50 + 101, `${last("suspect").at - all("beat")[0].at}`);
});

test("a server that is heard while our bytes do not move is slow, for a minute", () => {
  const { world, server, all, last } = up();
  const [socket] = world.sockets;
  world.kernel = 0;
  socket.out.flow = () => {};
  const since = world.now;
  const chat = () => {
    server.say(server.newest, { type: Type.ACK, seq: 0 });
    world.after(500, chat);
  };
  chat();
  world.runUntil(() => all("down").length > 0, 100_000, 100);
  const took = last("down").at - since;
  assert.equal(last("down").detail.cause.text, "our bytes did not move");
  assert.ok(took >= 60_000 && took <= 60_000 + 5100, `${took}`);
});

test("a suspended machine probes within 15 s of its wake, although no timer knew of it", () => {
  const { world, all } = up({ interval: 300_000, idleLimit: Infinity, replyTimeout: 10_000 });
  world.run(1000);
  world.suspend(3_600_000);
  assert.equal(all("beat").length, 0);
  world.run(15_100);
  assert.equal(all("beat").length, 1);
  assert.equal(all("down").length, 0);
});

test("bytes that do not leave, and nothing heard, are a verdict inside the bound", () => {
  const { world, last, link, server } = up();
  world.kernel = 0;
  world.openHole();
  server.stop();
  const died = world.now;
  link.send("x");
  world.runUntil(() => last("down"), BOUND + 200);
  assert.equal(last("down").detail.cause.kind, "dead");
});

test("timers that are held back to a second or a minute make no false verdict", () => {
  for (const clamp of [1000, 60_000]) {
    for (let seed = 0; seed < 50; seed += 1) {
      const { world, all, link } = up({}, seed);
      world.clamp = clamp;
      world.run(1_800_000);
      assert.equal(all("down").length, 0, `clamp ${clamp}, seed ${seed}: ${JSON.stringify(all("down")[0]?.detail)}`);
      assert.equal(link.state, "up");
    }
  }
});

test("with held-back timers, what comes from the server does what is due", () => {
  const { world, server, all } = up();
  world.clamp = 60_000;
  world.run(60_000);
  const before = all("beat").length;
  const chat = () => {
    server.say(server.newest, { type: Type.ACK, seq: 0 });
    world.after(500, chat);
  };
  chat();
  world.run(59_000);
  assert.ok(all("beat").length - before >= 10, `${all("beat").length - before} beats`);
});

test("no beat waits behind more than 64 KiB and a message, and all of them leave", () => {
  const { world, link, messages } = up();
  world.kernel = 0;
  let most = 0;
  for (let count = 0; count < 100; count += 1) {
    link.send(new Uint8Array(10_000));
    most = Math.max(most, world.sockets[0].bufferedAmount);
  }
  world.runUntil(() => (most = Math.max(most, world.sockets[0].bufferedAmount)) && messages().length === 100, 60_000, 1);
  assert.ok(most > 50_000 && most < 65_536 + 10_020, `${most}`);
});

test("a dead server is noticed with held-back timers as well: a few late wakes, then the verdict", () => {
  const { world, server, all, last } = up();
  world.clamp = 60_000;
  world.run(120_000);
  server.stop();
  const died = world.now;
  world.runUntil(() => all("down").length > 0, 600_000, 1000);
  assert.ok(last("down").at - died <= 6 * 60_000, `${last("down").at - died}`);
  assert.ok(last("down").detail.evidence.localStalls >= 3);
});

test("a frozen page judges nobody when it wakes, although its timers come before what it has not heard", () => {
  let outstanding = 0;
  for (let seed = 0; seed < 400; seed += 1) {
    const { world, all, link } = up({ defer: (then) => then() }, seed);
    world.latency = 300;
    world.run(world.random() * 10_000);
    outstanding += link.beats.sent > link.beats.answered ? 1 : 0;
    const beats = all("beat").length;
    const length = 5000 + world.random() * 100_000;
    world.frozenUntil = world.now + length;
    world.run(length + 2000);
    assert.equal(all("down").length + all("suspect").length, 0, `seed ${seed}`);
    assert.ok(all("beat").length - beats <= 2, `seed ${seed}: ${all("beat").length - beats} beats`);
  }
  assert.ok(outstanding > 20, "it proves nothing unless beats were on their way");
});

test("a suspect of before the page was frozen gets one probe more, and then the verdict", () => {
  for (const alive of [true, false]) {
    for (let seed = 0; seed < 100; seed += 1) {
      const { world, server, all, last } = up({ defer: (then) => then() }, seed);
      server.stop();
      world.runUntil(() => all("suspect").length > 0);
      world.run(world.random() * 1900);
      const beats = all("beat").length;
      const woke = (world.frozenUntil = world.now + 30_000);
      if (alive) world.after(20_000, () => server.proceed());
      world.run(30_000 + 1900);
      assert.equal(all("down").length, 0, `seed ${seed}`);
      assert.equal(all("recovered").length, alive ? 1 : 0);
      world.run(5100);
      assert.equal(all("down").length, alive ? 0 : 1);
      if (alive) continue;
      assert.equal(all("beat").length - beats, 1, `seed ${seed}`);
      assert.ok(last("down").at - woke >= 2000 && last("down").at - woke <= 2010);
    }
  }
});

test("bytes that waited while the page was frozen have the whole time once more", () => {
  let beats = 0;
  for (let seed = 0; seed < 100; seed += 1) {
    const { world, all, link } = up({ interval: 3000 }, seed);
    world.kernel = 0;
    world.openHole();
    link.send("x");
    // In some, a beat waits as well.
    world.run(1900);
    beats += all("beat").length;
    const asked = all("beat").length;
    world.frozenUntil = world.now + 100_000;
    world.run(101_500);
    assert.ok(all("beat").length <= Math.max(1, asked), "no second beat behind one that waits");
    world.closeHole();
    world.run(5000);
    assert.equal(all("down").length, 0, `seed ${seed}`);
  }
  assert.ok(beats > 10);
});

test("what came during a stall too short to be noticed is heard before the alarm judges", () => {
  for (let seed = 0; seed < 400; seed += 1) {
    const { world, all } = up({}, seed);
    world.latency = 800;
    world.runUntil(() => all("beat").length > 0, 10_000, 1);
    world.run(1599 - world.random() * 200);
    world.frozenUntil = world.now + 900;
    world.run(2000);
    assert.equal(all("suspect").length, 0, `seed ${seed}`);
  }
});

test("the server's terms hold, but not below a tenth of what was asked for", () => {
  const world = new World();
  world.server.grant = { interval: 1, replyTimeout: 1 };
  const { link, last } = world.link({ interval: 5000, replyTimeout: 2000 });
  link.open();
  world.run(100);
  assert.deepEqual([last("up").detail.interval, last("up").detail.replyTimeout], [500, 500]);
  world.server.grant = { interval: 60_000, replyTimeout: 20_000 };
  const other = world.link({ device: "other", interval: 5000, replyTimeout: 2000 });
  other.link.open();
  world.run(100);
  assert.deepEqual([other.last("up").detail.interval, other.last("up").detail.replyTimeout], [60_000, 20_000]);
});

test("the clock counts suspend, and is not moved by small or backward steps of the wall clock", () => {
  let [monotonic, wall] = [500, 1_000_000];
  const now = clock(() => monotonic, () => wall);
  const step = (monotonicStep, wallStep) => {
    monotonic += monotonicStep;
    wall += wallStep;
    return now();
  };
  assert.equal(step(100, 101), 100);
  assert.equal(step(100, -3_600_000), 200);
  assert.equal(step(100, 100), 300);
  assert.equal(step(1, 3_600_001), 3_600_301);
  assert.equal(step(0.25, 0), 3_600_301.25);
});
