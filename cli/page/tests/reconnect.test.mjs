// When to try again, and when not.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Reason, Type, World } from "./world.mjs";

/** A link to a server that is not there. */
function alone(options = {}, seed = 1) {
  const world = new World(seed);
  world.listening = false;
  world.latency = 0;
  const page = world.link(options);
  page.link.open();
  return { world, ...page };
}

/** A link whose connection ends at once by this refusal, and how long it waits then. */
function refused(refusal, options = {}, seed = 1) {
  const world = new World(seed);
  world.server.refusal = refusal;
  const page = world.link(options);
  page.link.open();
  world.runUntil(() => page.all("down").length > 0);
  const { retryAt } = page.last("down").detail;
  return { world, wait: retryAt === null ? null : retryAt - page.last("down").at, ...page };
}

test("waits fill the range from the floor to a step that doubles up to the cap", () => {
  const waits = [];
  for (let seed = 0; seed < 1000; seed += 1) {
    const { world, all } = alone({}, seed);
    world.runUntil(() => all("down").length >= 9, 600_000, 1000);
    all("down").slice(0, 9).forEach(({ detail, at }, index) => (waits[index] ??= []).push(detail.retryAt - at));
  }
  const tops = [1100, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000];
  waits.forEach((draws, index) => {
    const [least, most] = [Math.min(...draws), Math.max(...draws)];
    const slack = (tops[index] - 100) / 50;
    assert.ok(least >= 100 && least < 100 + slack, `${index}: ${least}`);
    assert.ok(most <= tops[index] && most > tops[index] - slack, `${index}: ${most}`);
  });
});

test("what is reported is what happens", () => {
  const { world, link, all } = alone();
  for (let count = 1; count < 20; count += 1) {
    world.runUntil(() => all("down").length === count, 60_000, 1);
    const { retryAt, attempt, wasUp } = all("down").at(-1).detail;
    assert.equal(link.state, "waiting");
    assert.deepEqual([attempt, wasUp, link.attempt], [count + 1, false, count + 1]);
    assert.ok(Math.abs(link.retryAt - retryAt) < 1e-6);
    world.runUntil(() => all("connecting").length === count + 1, 60_000, 1);
    assert.ok(Math.abs(all("connecting").at(-1).at - retryAt) <= 1);
  }
});

test("a connection that was stable and alive forgets earlier failures, a short one does not", () => {
  for (const [upFor, attempt] of [[29_000, 8], [31_000, 1]]) {
    const { world, link, all, last } = alone({ interval: 5000, replyTimeout: 2000 });
    world.runUntil(() => all("down").length === 6);
    world.listening = true;
    world.runUntil(() => link.state === "up");
    world.run(upFor);
    world.crash();
    world.run(1);
    assert.equal(last("down").detail.attempt, attempt, `up for ${upFor}`);
  }
});

test("a connection that showed no life was not stable, however long it was", () => {
  const { world, link, all, last } = alone({ interval: 120_000, idleLimit: Infinity, replyTimeout: 2000 });
  world.runUntil(() => all("down").length === 6);
  world.listening = true;
  world.runUntil(() => link.state === "up", 60_000, 1);
  world.server.stop();
  world.run(50_000);
  assert.equal(link.beats.sent, 0);
  world.crash();
  world.run(1);
  assert.equal(last("down").detail.attempt, 8);
});

test("an attempt that neither succeeds nor fails ends in time", () => {
  const world = new World();
  world.openHole();
  const { link, all } = world.link({ connectTimeout: 4000 });
  link.open();
  world.run(4010);
  assert.equal(all("down")[0].at - 1000, 4000);
  assert.equal(all("down")[0].detail.cause.phase, "connecting");
  assert.equal(world.sockets[0].readyState, 2, "and we have closed it");

  const mute = new World();
  mute.server.stop();
  const other = mute.link({ handshakeTimeout: 3000 });
  other.link.open();
  mute.run(3100);
  assert.equal(other.last("down").detail.cause.phase, "handshake");
});

test("reasons decide whether the link comes back", () => {
  const { Closed, Unauthorized, Forbidden, UnsupportedVersion, TooLarge, NotHere } = Reason;
  for (const reason of [Closed, Unauthorized, Forbidden, UnsupportedVersion, TooLarge, NotHere]) {
    const { link, world, all } = refused({ reason });
    assert.equal(link.state, "gaveUp", `${reason}`);
    world.run(3_600_000);
    assert.equal(all("connecting").length, 1);
  }
  const { GoingAway, Busy, Malformed, Flood, TimedOut, Silent, Failed } = Reason;
  for (const reason of [GoingAway, Busy, Malformed, Flood, TimedOut, Silent, Failed, 200]) {
    const { wait } = refused({ reason });
    assert.ok(wait >= 100 && wait <= 1100, `${reason}: ${wait}`);
  }
});

test("the server's wish is kept and spread, and cut to an hour", () => {
  const waits = Array.from({ length: 200 }, (_, seed) =>
    refused({ reason: Reason.Busy, retryAfter: 60_000, spread: 30_000 }, {}, seed).wait);
  assert.ok(Math.min(...waits) >= 60_000 && Math.min(...waits) < 61_000 && Math.max(...waits) > 89_000 && Math.max(...waits) <= 90_000);
  const { wait } = refused({ reason: Reason.GoingAway, retryAfter: 4_000_000_000 });
  assert.equal(wait, 3_600_000);
  const short = refused({ reason: Reason.GoingAway, retryAfter: 1 });
  assert.ok(short.wait >= 100 && short.wait <= 200, `${short.wait}`);
});

test("hints do not cut a wait that the server asked for, the user does", () => {
  const { world, link, wait } = refused({ reason: Reason.Busy, retryAfter: 60_000 });
  assert.equal(wait, 60_000);
  link.open();
  assert.equal(link.state, "connecting");
  world.runUntil(() => link.state === "waiting");
  link.retryNow();
  assert.equal(link.state, "connecting");
});

test("devices that throw each other out slow down, and say so", () => {
  const { world, all } = refused({ reason: Reason.Replaced });
  world.run(60_000);
  const downs = all("down");
  assert.ok(downs.length >= 3);
  assert.deepEqual(downs.slice(0, 3).map(({ detail }) => detail.conflict), [false, false, true]);
  downs.slice(0, 4).forEach(({ detail, at }, index) => assert.ok(detail.retryAt - at >= Math.min(30_000, 500 * 2 ** (index + 1))));
});

test("long connections do not end a conflict", () => {
  const world = new World();
  const { link, last } = world.link({ interval: 5000, replyTimeout: 2000 });
  link.open();
  for (let turn = 0; turn < 3; turn += 1) {
    world.runUntil(() => link.state === "up");
    world.run(40_000);
    world.server.sayToAll({ type: Type.GOODBYE, reason: Reason.Replaced });
    world.run(100);
    assert.equal(last("down").detail.conflict, turn === 2);
  }
});

test("attempts can be limited, and open begins anew", () => {
  const { world, link, last, all } = alone({ maxAttempts: 3 });
  world.run(60_000);
  assert.equal(link.state, "gaveUp");
  assert.equal(all("connecting").length, 3);
  assert.equal(last("gaveUp").detail.why, "attempts");
  world.listening = true;
  link.open();
  world.run(1000);
  assert.equal(link.state, "up");
});

test("close codes decide where there is no goodbye", () => {
  const ends = (code, options) => {
    const world = new World();
    const { link, last } = world.link(options);
    link.open();
    world.runUntil(() => link.state === "up");
    world.server.newest.send({ close: code });
    world.run(100);
    assert.equal(last("down").detail.cause.code, code);
    return link.state;
  };
  for (const code of [1001, 1005, 1006, 1011, 1012, 1013, 3000, 4401, 4999]) assert.equal(ends(code), "waiting", `${code}`);
  for (const code of [1000, 1008, 1010]) assert.equal(ends(code), "gaveUp", `${code}`);
  assert.equal(ends(4000, { fatalCodes: [4000] }), "gaveUp");
  assert.equal(ends(1008, { fatalCodes: [] }), "waiting");
});

test("a class that throws is a link that gives up", () => {
  const world = new World();
  class WebSocket {
    constructor() {
      throw new Error("mixed content");
    }
  }
  const { link, last } = world.link({ WebSocket });
  link.open();
  assert.equal(link.state, "gaveUp");
  assert.match(last("gaveUp").detail.cause.text, /mixed content/);
});

// What the page tells.

function page() {
  const parts = { window: new EventTarget(), document: new EventTarget(), navigator: { onLine: true } };
  parts.document.visibilityState = "visible";
  const fire = (name) => {
    const on = ["visibilitychange", "resume"].includes(name) ? parts.document : parts.window;
    on.dispatchEvent(Object.assign(new Event(name), { persisted: true }));
  };
  return { page: parts, fire };
}

test("offline is reported and slows attempts down to one a cap, and online cuts the wait", () => {
  const { page: parts, fire } = page();
  const { world, link, all, last } = alone({ page: parts });
  world.runUntil(() => all("down").length === 4, 60_000, 1);
  fire("offline");
  assert.equal(link.offline, true);
  const attempts = all("connecting").length;
  assert.ok(last("offline").detail.retryAt - all("down").at(-1).at >= 30_000);
  world.run(29_000);
  assert.equal(all("connecting").length, attempts);
  world.run(600_000);
  assert.ok(all("connecting").length - attempts <= 21, "a wrong hint must not disable the link");
  world.listening = true;
  fire("online");
  const wait = last("online").detail.retryAt - world.now;
  assert.ok(wait >= 0 && wait <= 100, `${wait}`);
  world.run(200);
  assert.equal(link.state, "up");
});

test("a network that comes, goes and comes is a network that came", () => {
  const { page: parts, fire } = page();
  const { world, link, all } = alone({ page: parts });
  world.runUntil(() => all("down").length === 6, 600_000, 1);
  for (const name of ["online", "offline", "online"]) fire(name);
  assert.ok(link.retryAt - world.now <= 100, `${link.retryAt - world.now}`);
});

test("attempts while offline neither count nor lengthen the backoff", () => {
  const { page: parts, fire } = page();
  const { world, link, all } = alone({ page: parts, maxAttempts: 3 });
  fire("offline");
  world.run(600_000);
  assert.ok(all("connecting").length > 10);
  assert.equal(link.state, "waiting");
  for (let seed = 0; seed < 30; seed += 1) {
    const { page: parts, fire } = page();
    const { world, all } = alone({ page: parts }, seed);
    fire("offline");
    world.run(300_000);
    fire("online");
    const before = all("down").length;
    world.runUntil(() => all("down").length > before, 1000, 1);
    const { detail, at } = all("down").at(-1);
    assert.ok(detail.retryAt - at <= 1100, `seed ${seed}: ${detail.retryAt - at}`);
  }
});

test("becoming visible, coming online and waking cut a wait, at most once a second", () => {
  const { page: parts, fire } = page();
  const { world, all } = alone({ page: parts });
  world.runUntil(() => all("down").length === 9, 600_000, 1);
  const before = all("connecting").length;
  for (let turn = 0; turn < 100; turn += 1) {
    for (const name of ["visibilitychange", "online", "pageshow", "resume"]) fire(name);
    world.run(100);
  }
  const attempts = all("connecting").length - before;
  assert.ok(attempts >= 8 && attempts <= 11, `${attempts} in 10 s`);
});

test("a hint does not cut a wait below the floor", () => {
  for (let seed = 0; seed < 50; seed += 1) {
    const { page: parts, fire } = page();
    const { world, all } = alone({ page: parts, floor: 400 }, seed);
    world.run(0);
    assert.equal(all("down").length, 1);
    fire("online");
    world.run(1000);
    assert.ok(all("connecting")[1].at - all("down")[0].at >= 400);
  }
});

test("a hint probes the path at once, at most twice an interval", () => {
  const { page: parts, fire } = page();
  const world = new World();
  const { link, all } = world.link({ page: parts, interval: 20_000, replyTimeout: 2000 });
  link.open();
  world.run(1000);
  assert.equal(all("beat").length, 0);
  fire("visibilitychange");
  assert.equal(all("beat").length, 1);
  world.run(1000);
  fire("online");
  assert.equal(all("beat").length, 1);
  world.server.stop();
  world.run(10_000);
  const asked = world.now;
  fire("pageshow");
  world.runUntil(() => all("down").length > 0, 5000);
  assert.ok(world.now - asked <= 4100, "so a dead server is noticed within two reply timeouts");
});

test("hidden pages and the end of loading are no hints", () => {
  const { page: parts } = page();
  const { world, link, all } = alone({ page: parts });
  world.runUntil(() => all("down").length === 6, 600_000, 1);
  const { retryAt } = link;
  parts.document.visibilityState = "hidden";
  parts.document.dispatchEvent(new Event("visibilitychange"));
  parts.window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: false }));
  assert.equal(link.retryAt, retryAt);
});

test("a page that is not interested any more is not listened to", () => {
  const { page: parts, fire } = page();
  const { link, all } = alone({ page: parts });
  link.close();
  fire("offline");
  assert.equal(all("offline").length, 0);
  link.open();
  fire("offline");
  assert.equal(all("offline").length, 1);
});
