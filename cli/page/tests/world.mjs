// A world without real time: a clock that jumps, a network with faults, and a server of docs/protocol.md.

import { Link, Reader, Reason, SUBPROTOCOL, Type, WireError, decodeFrame, encodeFrames } from "../keepbeat.js";

/** mulberry32: good enough to scatter faults, and the same on every machine. */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class World {
  constructor(seed = 1) {
    this.now = 1000;
    this.random = seeded(seed);
    this.timers = [];
    this.count = 0;
    this.pipes = new Set();
    this.dials = [];
    this.sockets = [];
    // What a test may change while it runs.
    this.latency = 10;
    this.listening = true;
    this.hole = false;
    /** A hidden tab: the page's own timers fire only at multiples of this. */
    this.clamp = 1;
    /** The whole page sleeps until then: nothing of it runs. */
    this.frozenUntil = 0;
    this.asleep = [];
    /** So many bytes of a connection are on their way before its WebSocket says that they are buffered. */
    this.kernel = Infinity;
    this.subprotocol = SUBPROTOCOL;
    this.server = new Server(this);
    const world = this;
    this.WebSocket = class extends Socket {
      constructor(url, protocols) {
        super(world, protocols);
      }
    };
  }

  /** A link, and all its events as `[name, detail, at]`. */
  link(options = {}) {
    const link = new Link({
      url: "ws://server.test/", device: "page", WebSocket: this.WebSocket, random: this.random, now: () => this.now,
      setTimeout: (then, delay) => this.pageTimer(delay, then), clearTimeout: (id) => this.cancel(id),
      defer: (then) => this.after(0, then), ...options,
    });
    const seen = [];
    const names = ["connecting", "up", "down", "suspect", "recovered", "beat", "rtt", "message", "acknowledged", "dropped",
      "online", "offline", "gaveUp", "closed"];
    for (const name of names) link.addEventListener(name, ({ detail }) => seen.push([name, detail, this.now]));
    const all = (name) => seen.filter(([seen]) => seen === name).map(([, detail, at]) => Object.assign([detail, at], { detail, at }));
    return { link, seen, all, last: (name) => all(name).at(-1), messages: () => all("message").map(({ detail }) => detail) };
  }

  after(delay, then) {
    this.count += 1;
    const timer = { at: this.now + delay, order: this.count, then };
    this.timers.push(timer);
    return timer;
  }

  pageTimer(delay, then) {
    const at = Math.ceil((this.now + delay) / this.clamp) * this.clamp;
    return this.after(at - this.now, () => this.page(then, true));
  }

  /** What happens in the page waits while the page is frozen: then the timers come first, the rest keeps its order. */
  page(then, isTimer = false) {
    if (this.now >= this.frozenUntil && this.asleep.length === 0) return then();
    this.asleep.push({ then, isTimer });
    if (this.asleep.length === 1) this.after(this.frozenUntil - this.now, () => this.wake());
  }

  wake() {
    if (this.now < this.frozenUntil) return this.after(this.frozenUntil - this.now, () => this.wake());
    const waiting = this.asleep.sort((one, other) => other.isTimer - one.isTimer);
    this.asleep = [];
    for (const { then } of waiting) then();
  }

  cancel(timer) {
    const index = this.timers.indexOf(timer);
    if (index >= 0) this.timers.splice(index, 1);
  }

  /** Lets so much time pass. */
  run(span) {
    const until = this.now + span;
    for (let turns = 0; ; turns += 1) {
      if (turns > 200_000) throw new Error("this world does not come to rest");
      const next = this.timers.reduce((first, timer) => (first && before(first, timer) ? first : timer), null);
      if (!next || next.at > until) break;
      this.cancel(next);
      this.now = Math.max(this.now, next.at);
      next.then();
    }
    this.now = until;
  }

  /** Lets time pass until something holds, at most so much of it. Returns how much it was. */
  runUntil(holds, most = 600_000, step = 10) {
    const from = this.now;
    while (!holds()) {
      if (this.now - from >= most) throw new Error(`it does not hold after ${most} ms: ${holds}`);
      this.run(step);
    }
    return this.now - from;
  }

  /** Lets promises settle: they know no virtual time. */
  async settle() {
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  /** So much time passes that no timer sees. */
  suspend(span) {
    this.now += span;
    for (const timer of this.timers) timer.at += span;
  }

  openHole() {
    this.hole = true;
  }

  closeHole() {
    this.hole = false;
    for (const pipe of this.pipes) pipe.flow();
  }

  /** The server's process dies: its connections are reset, and its sessions are lost unless it keeps them. */
  crash({ keep = true } = {}) {
    this.listening = false;
    for (const socket of [...this.sockets]) socket.reset();
    this.server.held = null;
    this.server.connections.clear();
    if (!keep) {
      this.server.sessions.clear();
      this.server.devices.clear();
    }
  }
}

const before = (one, other) => one.at < other.at || (one.at === other.at && one.order < other.order);

/** One direction of a connection: in order, late by the latency, and still while the network has a hole. */
class Pipe {
  constructor(world, deliver) {
    Object.assign(this, { world, deliver, queue: [], inFlight: 0 });
    world.pipes.add(this);
  }

  push(item, size = 0) {
    const at = this.world.now + this.world.latency;
    this.queue.push({ item, size, at });
    this.inFlight += size;
    this.world.after(at - this.world.now, () => this.flow());
  }

  flow() {
    while (!this.world.hole && this.queue.length > 0 && this.queue[0].at <= this.world.now) {
      const { item, size } = this.queue.shift();
      this.inFlight -= size;
      this.deliver(item);
    }
  }

  cut() {
    this.queue = [];
    this.world.pipes.delete(this);
  }
}

/** The page's end of a connection, with the interface of the browser's class. */
class Socket {
  constructor(world, protocols) {
    Object.assign(this, { world, readyState: 0, protocol: "", onopen: null, onmessage: null, onclose: null });
    world.dials.push(world.now);
    world.sockets.push(this);
    this.out = new Pipe(world, (item) => this.peer?.take(item));
    this.in = new Pipe(world, (item) => world.page(() => this.take(item)));
    this.in.push(world.listening ? { open: protocols.includes(world.subprotocol) } : { close: 1006 });
  }

  get bufferedAmount() {
    return Math.max(0, this.out.inFlight - this.world.kernel);
  }

  send(bytes) {
    if (this.readyState !== 1) throw new Error("not open");
    this.out.push({ data: bytes.slice() }, bytes.length);
  }

  close(code) {
    if (this.readyState >= 2) return;
    if (this.readyState === 1) this.out.push({ close: code });
    else this.in.cut();
    this.readyState = 2;
  }

  reset() {
    this.out.cut();
    this.in.cut();
    this.peer = null;
    const world = this.world;
    if (!world.hole) world.page(() => this.take({ close: 1006 }));
  }

  take({ open, data, close }) {
    if (this.readyState === 3) return;
    if (open !== undefined && this.readyState === 0) {
      if (!this.world.listening) return this.take({ close: 1006 });
      this.readyState = 1;
      this.protocol = this.world.subprotocol;
      this.peer = this.world.server.accept((item, size) => this.in.push(item, size));
      this.onopen?.({});
    } else if (data !== undefined && this.readyState === 1) {
      this.onmessage?.({ data: typeof data === "string" ? data : data.buffer });
    } else if (close !== undefined) {
      this.readyState = 3;
      this.world.sockets = this.world.sockets.filter((socket) => socket !== this);
      this.onclose?.({ code: close, reason: "" });
    }
  }
}

/** A server that echoes, with the sessions of section 9. It asserts what a client must not do. */
export class Server {
  constructor(world) {
    this.world = world;
    this.sessions = new Map();
    /** Of each device, the latest HELLO and its connection. */
    this.devices = new Map();
    this.hellos = [];
    this.goodbyes = [];
    this.faults = [];
    this.received = [];
    this.connections = new Set();
    // What a test may change.
    this.grant = {};
    this.refusal = null;
    this.held = null;
    this.echo = true;
    this.duplicates = 0;
  }

  /** SIGSTOP: what arrives waits. */
  stop() {
    this.held ??= [];
  }

  /** SIGCONT. */
  proceed() {
    const held = this.held ?? [];
    this.held = null;
    for (const then of held) then();
  }

  accept(send) {
    const connection = { send, session: null, beats: [] };
    this.connections.add(connection);
    connection.take = (item) => this.take(connection, item);
    return connection;
  }

  hangUp(connection, code) {
    if (this.held) return void this.held.push(() => this.hangUp(connection, code));
    this.connections.delete(connection);
    connection.send({ close: code });
  }

  /** The page has left; one that closed for good has no session any more. */
  end(connection, forGood) {
    const { session } = connection;
    this.hangUp(connection, 1000);
    if (!forGood || !session) return;
    this.sessions.delete(String(session.token));
    this.devices.delete(session.device);
  }

  take(connection, { data, close }) {
    if (!this.connections.has(connection)) return;
    if (this.held) return void this.held.push(() => this.take(connection, { data, close }));
    if (close !== undefined) return this.end(connection, close === 1000);
    for (let at = 0; at < data.length && this.connections.has(connection); ) {
      const decoded = data[at] === Type.HELLO ? readHello(data, at) : decodeFrame(data, at, connection.session !== null, 1 << 20);
      if (!decoded) return this.faults.push("a frame that is not whole");
      at = decoded.next;
      this.hear(connection, decoded.frame);
    }
  }

  hear(connection, frame) {
    const { session } = connection;
    if (session) session.confirmed = true;
    switch (frame.type) {
      case Type.HELLO:
        return this.greet(connection, frame);
      case Type.BEAT:
        connection.beats.push(this.world.now);
        return this.say(connection, { type: Type.ECHO, seq: frame.seq });
      case Type.DATA:
      case Type.TEXT:
        if (frame.seq > session.received + 1) this.faults.push(`a gap: ${frame.seq} after ${session.received}`);
        if (frame.seq === session.received + 1) {
          session.received = frame.seq;
          this.received.push(frame.message);
          if (this.echo) this.send(session, frame.type, frame.message);
        } else {
          this.duplicates += 1;
        }
        return this.say(connection, { type: Type.ACK, seq: session.received });
      case Type.ACK:
        if (frame.seq > session.acknowledged + session.out.length) this.faults.push("an ACK above what was sent");
        session.out.splice(0, Math.max(0, frame.seq - session.acknowledged));
        session.acknowledged = Math.max(session.acknowledged, frame.seq);
        return;
      case Type.GOODBYE:
        this.goodbyes.push(frame);
        return this.end(connection, frame.reason === Reason.Closed);
    }
  }

  greet(connection, hello) {
    this.hellos.push(hello);
    if (this.refusal) {
      this.say(connection, { type: Type.REFUSE, ...this.refusal });
      return this.hangUp(connection, 1000);
    }
    const latest = this.devices.get(hello.device);
    if (String(latest?.instance) === String(hello.instance) && hello.attempt <= latest.attempt) {
      this.say(connection, { type: Type.REFUSE, reason: Reason.Replaced });
      return this.hangUp(connection, 1000);
    }
    if (this.connections.has(latest?.connection)) {
      this.say(latest.connection, { type: Type.GOODBYE, reason: Reason.Replaced });
      this.hangUp(latest.connection, 1000);
    }
    this.devices.set(hello.device, { instance: hello.instance, attempt: hello.attempt, connection });
    const old = hello.token && this.sessions.get(String(hello.token));
    const resumed = Boolean(old && old.acknowledged <= hello.received && hello.received <= old.acknowledged + old.out.length);
    const session = resumed ? old : this.begin(hello.device);
    this.sessions.set(String(session.token), session);
    connection.session = session;
    session.connection = connection;
    session.out.splice(0, resumed ? hello.received - session.acknowledged : 0);
    session.acknowledged = resumed ? hello.received : 0;
    const { interval, replyTimeout } = hello;
    const terms = { interval, replyTimeout, messageLimit: 1 << 20, ...this.grant };
    this.say(connection, { type: Type.WELCOME, version: 1, token: session.token, resumed, received: session.received, ...terms });
    session.out.forEach((entry, index) => this.say(connection, { ...entry, seq: session.acknowledged + index + 1 }));
  }

  /** A new session in place of the old one; or that one, if the device may never have heard of it, under another token. */
  begin(device) {
    const old = [...this.sessions.values()].find((session) => session.device === device);
    if (old) this.sessions.delete(String(old.token));
    const session = old?.confirmed === false ? old : { device, received: 0, acknowledged: 0, out: [], confirmed: false };
    return Object.assign(session, { token: this.mint() });
  }

  mint() {
    return Uint8Array.from({ length: 16 }, () => Math.floor(this.world.random() * 256));
  }

  /** A message of the session. */
  send(session, type, message) {
    const entry = { type, message: typeof message === "string" ? new TextEncoder().encode(message) : message };
    session.out.push(entry);
    this.say(session.connection, { ...entry, seq: session.acknowledged + session.out.length });
  }

  /** Sends frames as one WebSocket message. */
  say(connection, ...frames) {
    if (this.held) return void this.held.push(() => this.say(connection, ...frames));
    const data = encodeFrames(frames);
    connection.send({ data }, data.length);
  }

  /** Says a frame to everybody, such as a GOODBYE, and closes if it is one. */
  sayToAll(frame) {
    for (const connection of this.connections) {
      this.say(connection, frame);
      if (frame.type === Type.GOODBYE) this.hangUp(connection, 1000);
    }
  }

  get newest() {
    return [...this.connections].at(-1);
  }
}

/** A HELLO, which only servers read. The same checks as for other frames come before. */
export function readHello(bytes, offset = 0) {
  const header = new Reader(bytes.subarray(offset + 1, offset + 5));
  const length = header.varint(28);
  if (length > 4096) throw new WireError("TooLarge", "a HELLO above its limit");
  const begin = offset + 1 + header.at;
  if (bytes.length - begin < length) return null;
  const reader = new Reader(bytes.subarray(begin, begin + length));
  const version = reader.magic();
  const deviceLength = reader.varint(32);
  if (deviceLength < 1 || deviceLength > 128) throw new WireError("Malformed", "the device id");
  reader.at -= deviceLength < 128 ? 1 : 2;
  const device = reader.text();
  if (/\p{Cc}/u.test(device)) throw new WireError("Malformed", "the device id");
  const frame = {
    type: Type.HELLO, version, device, instance: reader.take(8), attempt: reader.varint(32), interval: reader.varint(32),
    replyTimeout: reader.varint(32), messageLimit: reader.varint(64), token: reader.flag() ? reader.take(16) : null,
    received: reader.varint(64), credentials: reader.take(reader.varint(32)),
  };
  return { frame, next: begin + length };
}

export { Reason, Type };
