// The handshake, sessions, messages, and how links end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Core, Link, SUBPROTOCOL, configure, encodeFrames } from "../keepbeat.js";
import { Reason, Type, World } from "./world.mjs";

const text = (frame) => new TextDecoder().decode(frame);

/** A link that is up. */
function up(options, seed) {
  const world = new World(seed);
  const page = world.link(options);
  page.link.open();
  world.runUntil(() => page.link.state === "up");
  return { world, server: world.server, ...page };
}

test("a link says what HELLO says and comes up", () => {
  const world = new World();
  const { link, seen } = world.link({ device: "pümpe", interval: 5000, replyTimeout: 2000, credentials: "secret" });
  assert.equal(link.state, "closed");
  link.open();
  assert.equal(link.state, "connecting");
  world.runUntil(() => link.state === "up");
  world.run(20);
  assert.equal(world.server.sessions.values().next().value.confirmed, true, "the server learns at once that we are here");
  const [hello] = world.server.hellos;
  assert.equal(hello.device, "pümpe");
  assert.deepEqual([hello.version, hello.attempt, hello.interval, hello.replyTimeout], [1, 1, 5000, 2000]);
  assert.equal(text(hello.credentials), "secret");
  assert.equal(hello.token, null);
  assert.notDeepEqual(hello.instance, new Uint8Array(8));
  assert.deepEqual(seen.map(([name]) => name), ["connecting", "up"]);
  const { resumed, inDoubt, attempt, interval, worstCaseDetection } = seen[1][1];
  assert.deepEqual({ resumed, inDoubt, attempt, interval, worstCaseDetection },
    { resumed: false, inDoubt: 0, attempt: 1, interval: 5000, worstCaseDetection: 9000 });
});

test("messages go both ways as what they were, and are acknowledged", async () => {
  const { world, link, messages, last, server } = up();
  const tickets = [link.send("höi"), link.send(Uint8Array.of(0, 255)), link.send(new ArrayBuffer(0)), link.send("")];
  assert.equal(link.unacknowledged, 4);
  assert.deepEqual(await Promise.all(tickets), [1, 2, 3, 4]);
  world.run(100);
  assert.deepEqual(messages(), ["höi", Uint8Array.of(0, 255), new Uint8Array(0), ""]);
  assert.equal(link.unacknowledged, 0);
  assert.equal(last("acknowledged").detail.through, 4);
  assert.equal(server.sessions.values().next().value.out.length, 0, "ours are acknowledged as well");
});

test("a message is copied when it is sent", () => {
  const { world, link, messages } = up();
  const bytes = Uint8Array.of(1, 2, 3);
  link.send(bytes.subarray(1));
  bytes.fill(9);
  world.run(100);
  assert.deepEqual(messages(), [Uint8Array.of(2, 3)]);
});

test("what was sent before the link is up waits, and what is sent on a closed link is refused", async () => {
  const world = new World();
  const { link, messages } = world.link();
  await assert.rejects(link.send("early"), { code: "closed" });
  link.open();
  link.send("first");
  world.run(1000);
  assert.deepEqual(messages(), ["first"]);
  link.close();
  await assert.rejects(link.send("late"), { code: "closed" });
});

test("close says goodbye and ends the session, keeps what waits, and open begins another", () => {
  const { world, link, server, last, messages } = up();
  server.stop();
  link.send("kept");
  link.close();
  assert.equal(link.state, "closed");
  assert.deepEqual(last("closed").detail, { unacknowledged: 1 });
  server.proceed();
  world.run(1000);
  assert.deepEqual(server.goodbyes.map(({ reason }) => reason), [Reason.Closed]);
  assert.equal(world.timers.length, 0, "a closed link has no alarm");
  assert.deepEqual(server.received, ["kept"], "the server has it, and we do not know");
  assert.equal(server.sessions.size, 0);
  link.open();
  world.run(1000);
  assert.deepEqual(messages(), ["kept"]);
  const { resumed, inDoubt } = last("up").detail;
  assert.deepEqual({ resumed, inDoubt, received: server.received }, { resumed: false, inDoubt: 1, received: ["kept", "kept"] });
});

test("close ends the session although the server has not answered yet", () => {
  const { world, link, server } = up();
  world.crash();
  world.listening = true;
  server.stop();
  world.runUntil(() => world.sockets.some(({ readyState }) => readyState === 1));
  world.run(50);
  assert.equal(link.state, "connecting");
  link.close();
  server.proceed();
  world.run(1000);
  assert.deepEqual(server.goodbyes.map(({ reason }) => reason), [Reason.Closed]);
  assert.equal(server.sessions.size, 0);
});

test("a server that answers our HELLO too late keeps the session", () => {
  const { world, link, server, last } = up({ handshakeTimeout: 3000 });
  world.crash();
  world.listening = true;
  server.stop();
  world.runUntil(() => last("down")?.detail.cause.phase === "handshake");
  server.proceed();
  world.run(10_000);
  assert.deepEqual(server.goodbyes.map(({ reason }) => reason), [Reason.TimedOut]);
  assert.equal(link.state, "up");
  assert.equal(last("up").detail.resumed, true);
});

test("a lost connection is resumed, and every message arrives once", () => {
  const { world, link, server, messages, all } = up();
  for (let number = 1; number <= 50; number += 1) {
    link.send(`${number}`);
    if (number % 10 === 0) {
      world.run(15);
      world.crash();
      world.listening = true;
    }
  }
  world.run(30_000);
  const expected = Array.from({ length: 50 }, (_, index) => `${index + 1}`);
  assert.deepEqual(server.received, expected);
  assert.deepEqual(messages(), expected);
  assert.equal(all("up").length > 1 && all("up").slice(1).every(({ detail }) => detail.resumed), true);
  assert.deepEqual(server.faults, []);
  assert.deepEqual(server.hellos.map(({ attempt }) => attempt), server.hellos.map((_, index) => index + 1));
});

test("a new session sends everything again and says how much may arrive twice", () => {
  const { world, link, server, last, messages } = up();
  for (const message of ["1", "2", "3"]) link.send(message);
  world.run(1000);
  server.received.length = 0;
  server.stop();
  link.send("in doubt");
  world.run(100);
  world.crash({ keep: false });
  link.send("not in doubt");
  world.listening = true;
  server.proceed();
  world.run(30_000);
  assert.deepEqual(last("up").detail.inDoubt, 1);
  assert.equal(last("up").detail.resumed, false);
  assert.deepEqual(server.received, ["in doubt", "not in doubt"]);
  assert.deepEqual(messages(), ["1", "2", "3", "in doubt", "not in doubt"], "the server's numbers begin anew as well");
  assert.equal(link.unacknowledged, 0);
});

test("a duplicate is acknowledged and not delivered again, and a gap ends the connection", () => {
  const { world, link, server, messages, last } = up();
  const data = (seq) => server.say(server.newest, { type: Type.TEXT, seq, message: new TextEncoder().encode("x") });
  data(1);
  data(1);
  world.run(100);
  assert.deepEqual(messages(), ["x"]);
  data(3);
  world.run(100);
  assert.equal(last("down").detail.cause.kind, "protocol");
  assert.deepEqual(server.goodbyes.map(({ reason }) => reason), [Reason.Malformed]);
  assert.notEqual(link.state, "gaveUp");
});

test("what breaks the protocol is answered with its reason", () => {
  const ack = [{ type: Type.ACK, seq: 7 }];
  const cases = [
    ["a text message", () => "hello", Reason.Malformed],
    ["an empty message", () => new Uint8Array(0), Reason.Malformed],
    ["half a frame", () => Uint8Array.of(Type.DATA, 9, 1), Reason.Malformed],
    ["a frame too large", () => Uint8Array.of(Type.BEAT, 33), Reason.TooLarge],
    ["a second WELCOME", ({ hello }) => hello, Reason.Malformed],
  ];
  for (const [what, bytes, reason] of cases) {
    const { world, server } = up();
    const welcome = Uint8Array.of(2, 0x1f, 0x4b, 0x50, 0x42, 0x54, 1, ...new Uint8Array(16), 0, 1, 1, 1, 0, ...new Uint8Array(6));
    server.newest.send({ data: bytes({ hello: welcome }) });
    world.run(100);
    assert.deepEqual(server.goodbyes.map((goodbye) => goodbye.reason), [reason], what);
  }
  const { world, server } = up();
  server.say(server.newest, ...ack);
  world.run(100);
  assert.deepEqual(server.goodbyes.map((goodbye) => goodbye.reason), [Reason.Malformed], "an ACK above what was sent");
});

test("a resume with foreign numbers ends that session, and the next attempt begins a new one", () => {
  const { world, link, server, last } = up();
  const [session] = server.sessions.values();
  server.send(session, Type.TEXT, "so that we have received something");
  world.run(100);
  session.received = 99;
  world.crash();
  world.listening = true;
  world.run(10_000);
  assert.equal(server.goodbyes[0].reason, Reason.Malformed);
  assert.equal(link.state, "up");
  assert.equal(last("up").detail.resumed, false);
  assert.deepEqual([server.hellos.at(-1).token, server.hellos.at(-1).received], [null, 0]);
});

test("a session that we did not ask for, or that has messages from the beginning, is none", () => {
  for (const grant of [{ resumed: true }, { received: 1 }]) {
    const world = new World();
    world.server.grant = grant;
    const { link, last } = world.link();
    link.open();
    world.run(100);
    assert.equal(last("down").detail.cause.kind, "protocol");
    assert.equal(last("up"), undefined);
    assert.equal(world.server.goodbyes[0].reason, Reason.Malformed);
    world.server.grant = {};
    world.run(5000);
    assert.equal(link.state, "up");
  }
});

test("what comes from an attempt that is over changes nothing", () => {
  const core = new Core(configure({ url: "ws://server.test/", WebSocket: class {} }));
  const welcome = { type: Type.WELCOME, version: 1, token: new Uint8Array(16), resumed: false, interval: 1000, replyTimeout: 500,
    messageLimit: 9, received: 0 };
  const say = (...frames) => encodeFrames(frames).buffer;
  core.open(0);
  core.retryNow(0);
  core.opened(1, 1, SUBPROTOCOL);
  core.ended(2, 1, 1006, "");
  core.handleTimeout(core.pollTimeout());
  assert.equal(core.epoch, 2);
  core.opened(5000, 1, SUBPROTOCOL);
  assert.equal(core.phase, "connecting");
  core.opened(5000, 2, SUBPROTOCOL);
  core.received(5001, 1, say(welcome));
  core.ended(5001, 1, 1006, "");
  core.failed(5001, 1, { kind: "credentials", text: "" });
  assert.equal(core.phase, "handshake");
  core.received(5002, 2, say(welcome));
  assert.equal(core.state, "up");
  core.send(5003, { type: Type.TEXT, bytes: new Uint8Array(1) });
  core.received(5003, 1, say({ type: Type.GOODBYE, reason: 0 }));
  core.progressed(5003, 1, 0);
  assert.equal(core.state, "up");
  assert.ok(core.buffered > 0);
});

test("unknown frames are skipped", () => {
  const { world, link, server, messages } = up();
  server.newest.send({ data: Uint8Array.of(0x7f, 2, 1, 2, Type.TEXT, 2, 1, 0x41) });
  world.run(100);
  assert.deepEqual(messages(), ["A"]);
  assert.equal(link.state, "up");
});

test("a server that speaks another sub-protocol is not spoken to", () => {
  const world = new World();
  world.subprotocol = "chat";
  const { link, last } = world.link();
  link.open();
  world.run(100);
  assert.equal(last("down").detail.cause.kind, "protocol");
  assert.equal(world.server.hellos.length, 0);
});

test("messages above the server's limit are dropped by name, and those after them arrive", () => {
  const world = new World();
  world.server.grant = { messageLimit: 5 };
  const { link, messages, last } = world.link();
  link.open();
  link.send("too long");
  link.send("short");
  world.run(1000);
  assert.deepEqual(messages(), ["short"]);
  assert.deepEqual(last("dropped").detail, { ticket: 1, payload: "too long", reason: "peer-limit" });
});

test("a full outbox refuses, drops the oldest that has not left, or lets wait", async () => {
  const world = new World();
  const refusing = world.link({ outbox: { messages: 2 }, device: "a" });
  refusing.link.open();
  await Promise.all([refusing.link.send("1"), refusing.link.send("2")]);
  await assert.rejects(refusing.link.send("3"), { code: "full" });
  await assert.rejects(refusing.link.send("x".repeat(2 << 20)), { code: "too-large" });

  const dropping = world.link({ outbox: { bytes: 2, overflow: "drop-oldest" }, device: "b" });
  dropping.link.open();
  for (const message of ["1", "2", "3"]) await dropping.link.send(message);
  assert.deepEqual(dropping.last("dropped").detail, { ticket: 1, payload: "1", reason: "overflow" });

  const waiting = world.link({ outbox: { messages: 2, overflow: "block" }, device: "c" });
  waiting.link.open();
  const sent = ["1", "2", "3", "4", "5"].map((message) => waiting.link.send(message));
  assert.equal(waiting.link.unacknowledged, 2);
  world.run(5000);
  assert.deepEqual(await Promise.all(sent), [1, 2, 3, 4, 5]);
  assert.deepEqual(waiting.messages(), ["1", "2", "3", "4", "5"]);
  assert.deepEqual(dropping.messages(), ["2", "3"]);

  world.listening = false;
  world.crash();
  const last = ["6", "7", "8"].map((message) => waiting.link.send(message));
  waiting.link.close();
  await assert.rejects(last[2], { code: "closed" });
});

test("nothing is dropped for a message that would not fit anyway, nor what has left", async () => {
  const { world, link, last, messages } = up({ outbox: { bytes: 70_030, overflow: "drop-oldest" } });
  world.kernel = 0;
  const first = "x".repeat(70_000);
  for (const message of [first, "a".repeat(10), "b".repeat(10)]) await link.send(message);
  await assert.rejects(link.send("c".repeat(40)), { code: "full" });
  assert.equal(last("dropped"), undefined);
  await link.send("d".repeat(20));
  assert.equal(last("dropped").detail.ticket, 2);
  world.run(1000);
  assert.deepEqual(messages(), [first, "b".repeat(10), "d".repeat(20)]);
});

test("what the hook greets goes before what waits, and up comes after it", async () => {
  let release;
  const gate = new Promise((resolve) => (release = resolve));
  const openings = [];
  const world = new World();
  const { link, server = world.server, seen } = world.link({
    onopen: async ({ resumed, inDoubt, greet }) => {
      openings.push({ resumed, inDoubt });
      greet("hello 1");
      await gate;
      greet("hello 2");
    },
  });
  link.open();
  link.send("queued");
  world.run(100);
  await world.settle();
  world.run(100);
  assert.equal(link.state, "connecting");
  assert.deepEqual(server.received, ["hello 1"]);
  release();
  await world.settle();
  world.run(100);
  assert.equal(link.state, "up");
  assert.deepEqual(server.received, ["hello 1", "hello 2", "queued"]);
  assert.deepEqual(openings, [{ resumed: false, inDoubt: 0 }]);
  assert.equal(seen.findIndex(([name]) => name === "up") > seen.findIndex(([name]) => name === "message"), true);
  assert.deepEqual(seen.filter(([name]) => name === "acknowledged").map(([, { count }]) => count), [1], "greetings have no ticket");
});

test("a greeting above either limit is refused in the hook, and nothing of it leaves", async () => {
  for (const [messageLimit, peerLimit, outbox] of [[8, 1 << 20, {}], [1 << 20, 8, {}], [8, 1 << 20, { bytes: 5 }]]) {
    const world = new World();
    world.server.grant = { messageLimit: peerLimit };
    const errors = [];
    const onopen = ({ greet }) => {
      try {
        greet("x".repeat(9));
      } catch (error) {
        errors.push(error);
      }
      greet("x".repeat(8));
    };
    const { link, last } = world.link({ messageLimit, outbox, onopen });
    link.open();
    world.run(100);
    await world.settle();
    world.run(100);
    assert.deepEqual(errors.map(({ name, code, message }) => [name, code, message]),
      [["SendError", "too-large", "a message of 9 bytes exceeds the limit of 8"]]);
    assert.deepEqual(world.server.received, ["x".repeat(8)]);
    assert.equal(link.state, "up");
    assert.equal(last("dropped"), undefined);
  }
});

test("a message that is too large for ever does not wait for room", async () => {
  const world = new World();
  const { link } = world.link({ messageLimit: 5, outbox: { messages: 1, overflow: "block" } });
  link.open();
  link.send("1");
  await assert.rejects(link.send("123456"), { code: "too-large" });
});

test("a new session is greeted once, although the old greeting was not acknowledged", async () => {
  const world = new World();
  const greeted = [];
  const { link } = world.link({ onopen: ({ greet }) => void greeted.push(greet("hello")) });
  link.open();
  world.run(35);
  await world.settle();
  assert.deepEqual(greeted, [true]);
  world.crash({ keep: false });
  world.listening = true;
  for (let turn = 0; turn < 50; turn += 1) {
    world.run(100);
    await world.settle();
  }
  assert.equal(link.state, "up");
  assert.deepEqual(world.server.received, ["hello"]);
});

test("a greeting that has not left dies with its connection", async () => {
  const world = new World();
  let greetings = 0;
  const { link } = world.link({ onopen: ({ greet }) => void greet(`hello ${(greetings += 1)}`) });
  const settle = async (turns) => {
    for (let turn = 0; turn < turns; turn += 1) {
      world.run(10);
      await world.settle();
    }
  };
  link.open();
  await settle(20);
  assert.equal(link.state, "up");
  // What is on its way counts as buffered, and this is too much for anything to go behind it.
  Object.assign(world, { kernel: 0, latency: 100 });
  for (const size of [70_000, 1]) link.send("x".repeat(size));
  for (const greeted of [2, 3]) {
    world.crash();
    world.listening = true;
    while (greetings < greeted) await settle(1);
  }
  world.latency = 1;
  await settle(100);
  assert.deepEqual(world.server.received, ["hello 1", "x".repeat(70_000), "hello 3", "x"]);
});

test("a hook that fails, or does not finish, ends the attempt", async () => {
  for (const onopen of [() => Promise.reject(new Error("no session")), () => new Promise(() => {})]) {
    const world = new World();
    const { link, last } = world.link({ onopen, handshakeTimeout: 3000 });
    link.open();
    world.run(50);
    await world.settle();
    world.run(3100);
    assert.match(last("down").detail.cause.text, /hook/);
    assert.equal(last("down").detail.wasUp, false);
    assert.equal(world.server.goodbyes[0].reason, Reason.GoingAway);
  }
});

test("credentials are asked for before every attempt, and once more if they are refused", async () => {
  const world = new World();
  const asked = [];
  const { link, last } = world.link({
    credentials: async ({ refresh }) => {
      asked.push(refresh);
      return refresh ? "fresh" : "stale";
    },
  });
  world.server.refusal = { reason: Reason.Unauthorized };
  link.open();
  for (let turn = 0; turn < 100; turn += 1) {
    world.run(100);
    await world.settle();
  }
  assert.deepEqual(asked, [false, true]);
  assert.deepEqual(world.server.hellos.map(({ credentials }) => text(credentials)), ["stale", "fresh"]);
  assert.equal(link.state, "gaveUp");
  assert.equal(last("gaveUp").detail.cause.reason, "Unauthorized");
});

test("credentials that were accepted once may be refreshed once more", async () => {
  const world = new World();
  const asked = [];
  const { link, all } = world.link({ credentials: async ({ refresh }) => void asked.push(refresh) ?? "key" });
  const settle = async (holds) => {
    for (let turn = 0; turn < 1000 && !holds(); turn += 1) {
      world.run(10);
      await world.settle();
    }
  };
  const refusal = { reason: Reason.Unauthorized };
  link.open();
  for (let turn = 1; turn <= 2; turn += 1) {
    world.server.refusal = refusal;
    world.crash();
    world.listening = true;
    await settle(() => asked.at(-1) === true);
    world.server.refusal = null;
    await settle(() => link.state === "up");
    assert.equal(all("up").length, turn);
    asked.push("up");
  }
  assert.deepEqual(asked, [false, true, "up", false, true, "up"]);
});

test("a provider that fails or hangs costs a wait, not the link", async () => {
  const world = new World();
  let calls = 0;
  const { link, all } = world.link({
    credentialsTimeout: 2000,
    credentials: () => {
      calls += 1;
      if (calls === 1) throw new Error("no key");
      return calls === 2 ? new Promise(() => {}) : "key";
    },
  });
  link.open();
  for (let turn = 0; turn < 100 && link.state !== "up"; turn += 1) {
    await world.settle();
    world.run(100);
  }
  assert.equal(link.state, "up");
  assert.deepEqual(all("down").map(({ detail }) => detail.cause.kind), ["credentials", "timeout"]);
});

test("a configuration that cannot be is refused by the name of its option, what it is, and what it may be", () => {
  class WebSocket {}
  const given = { url: "ws://server.test/", WebSocket };
  const bad = (options, Kind, words) => assert.throws(() => new Link(options), (error) => {
    assert.equal(error.constructor, Kind, `${error}`);
    assert.match(error.message, words);
    return true;
  });
  for (const options of [undefined, null, "ws://server.test/", 5]) {
    bad(options, TypeError, /^the configuration is .*; give an object with at least url$/);
  }
  bad({ WebSocket }, TypeError, /^url is undefined; give ws:/);
  const types = {
    url: ["http://x/", "x", "ws://", "ws://x/#part", 5, null],
    device: [5, null], onopen: ["f", 1], WebSocket: [5, null, {}],
    fatalCodes: [null, 1000, "1000", [1000, "1008"], [999], [5000], [1000.5]],
    outbox: [null, 5, "reject"], "outbox.overflow": ["drop", null],
    interval: ["500", null, true, [500], 500n, Symbol("500")], idleLimit: ["60000", null], replyTimeout: ["500"], probes: ["3"],
    base: ["5"], cap: ["5", null], floor: ["5"], firstSpread: ["5"], stable: [null], maxAttempts: ["5", null],
    connectTimeout: ["5"], handshakeTimeout: ["5"], credentialsTimeout: [null], messageLimit: ["5"],
    "outbox.messages": ["5"], "outbox.bytes": [null],
  };
  const ranges = {
    device: ["", "a\nb", "ü".repeat(65)],
    interval: [9, NaN, Infinity, -1, 86_400_001], idleLimit: [0, NaN], replyTimeout: [9, 25_001], probes: [-1, 17, 2.5],
    base: [0, 30_001], cap: [0, Infinity, 86_400_001], floor: [0, 501], firstSpread: [-1, 29_901], stable: [0],
    maxAttempts: [0, 1.5, NaN], connectTimeout: [0, NaN, Infinity], handshakeTimeout: [0], credentialsTimeout: [-1],
    messageLimit: [0, 1.5, Infinity, 2 ** 28], "outbox.messages": [0, 1.5], "outbox.bytes": [0, 1.5],
  };
  for (const [Kind, table] of [[TypeError, types], [RangeError, ranges]]) {
    for (const [name, values] of Object.entries(table)) {
      const [option, part] = name.split(".");
      for (const value of values) {
        bad({ ...given, [option]: part ? { [part]: value } : value }, Kind, new RegExp(`^${name} is .*; give .+`));
      }
    }
  }
  for (const name of ["intervall", "toString", "__proto__", "jitter"]) {
    const options = Object.defineProperty({ ...given }, name, { value: 5, enumerable: true });
    bad(options, TypeError, new RegExp(`^there is no option ${name}$`));
  }
  for (const name of ["message", "toString"]) {
    bad({ ...given, outbox: { [name]: 5 } }, TypeError, new RegExp(`^there is no option outbox.${name}$`));
  }
  for (const credentials of [null, 5, {}]) bad({ ...given, credentials }, TypeError, /^the type of credentials is "\w+"; give/);
  bad({ ...given, cap: 1000, firstSpread: 1000 }, RangeError, /^firstSpread is 1000; give 0 to 900 \(cap - floor\)$/);

  new Link({ ...given, device: undefined, url: new URL(given.url), outbox: { bytes: Infinity, messages: undefined } });
  new Link({ ...given, interval: 500, cap: 5, maxAttempts: 1, outbox: undefined, credentials: new Uint8Array(1) });
});

test("an interval at which proxies forget the connection is refused, unless it is said that there are none", () => {
  const given = { url: "ws://server.test/", WebSocket: class {} };
  const words = /with an interval of 60000 ms, a proxy .* idle for 60000 ms .* shorten the interval, or say by idleLimit/;
  assert.throws(() => new Link({ ...given, interval: 60_000 }), { name: "RangeError", message: words });
  assert.throws(() => new Link({ ...given, idleLimit: 25_000 }), { name: "RangeError" });
  for (const [interval, idleLimit] of [[59_999, undefined], [60_000, 60_001], [86_400_000, Infinity]]) {
    new Link({ ...given, interval, idleLimit });
  }
});

test("a listener may call back into the link", () => {
  const world = new World();
  const { link, messages } = world.link();
  link.addEventListener("up", () => link.send("one"));
  link.addEventListener("message", ({ detail }) => (detail === "one" ? link.send("two") : link.close()));
  link.open();
  world.run(1000);
  assert.deepEqual(messages(), ["one", "two"]);
  assert.equal(link.state, "closed");

  const other = world.link({ device: "other" });
  other.link.addEventListener("closed", () => other.link.open(), { once: true });
  other.link.open();
  other.link.close();
  world.run(1000);
  assert.equal(other.link.state, "up");
});
