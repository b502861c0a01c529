/**
 * keepbeat for browsers: one link to a keepbeat server over WebSocket that notices, recovers and resumes.
 *
 *     import { Link } from "./keepbeat.js";
 *     const link = new Link({ url: "wss://example.org/", device: "desk-7" });
 *     link.addEventListener("message", ({ detail }) => console.log(detail));
 *     link.open();
 *     await link.send("hello");
 *
 * It speaks the protocol of docs/protocol.md; docs/browser.md is the manual. From the top down: `Link` moves bytes and
 * sets one alarm; `Core` decides everything and has neither a clock nor a socket; `Liveness`, `Reconnect` and `Outbox`
 * are its parts; then frames, and the configuration. Times are milliseconds. Message numbers are exact up to 2^53 - 1.
 */

export const SUBPROTOCOL = "keepbeat.1";

const VERSION = 1;
/** Messages are handed to the WebSocket while it holds fewer bytes than this, so that no beat waits behind more. */
const HIGH_WATER = 64 * 1024;
/** A suspended machine does not advance timers. Waking this often is how its end is noticed. */
const LONGEST_NAP = 15_000;

/**
 * One logical link across many connections.
 *
 * Events (`CustomEvent`, the fields are in `detail`): connecting, up, down, suspect, recovered, beat, rtt, message,
 * acknowledged, dropped, online, offline, gaveUp, closed.
 */
export class Link extends EventTarget {
  #config;
  #core;
  #socket = null;
  #alarm = null;
  #alarmAt = Infinity;
  #busy = false;
  /** Messages that wait for room (`overflow: "block"`). */
  #waiting = [];
  #watched = [];

  /** @param {Options} options see `configure`. @throws {TypeError | RangeError} for a configuration that cannot be. */
  constructor(options) {
    super();
    this.#config = configure(options);
    this.#core = new Core(this.#config);
  }

  /** Connects at once, or skips the wait for the next attempt. Without effect while connecting or up. */
  open() {
    this.#watch();
    this.#turn((now) => this.#core.open(now));
  }

  /** Says goodbye, which ends the session, and stays closed until `open`. What is not acknowledged is kept for the next one. */
  close() {
    this.#turn((now) => this.#core.close(now));
  }

  /** Skips the wait for the next attempt. */
  retryNow() {
    this.#turn((now) => this.#core.retryNow(now));
  }

  /**
   * Sends a message, now or when the link is up again, until the server acknowledges it.
   *
   * It has its place in the order when this returns; the promise resolves with its ticket once the outbox has it.
   * @param {string | ArrayBuffer | ArrayBufferView} message
   * @returns {Promise<number>} rejects with a `SendError`: `full`, `too-large` or `closed`
   */
  async send(message) {
    const payload = encodeMessage(message);
    if (this.#config.outbox.overflow === "block" && (this.#waiting.length > 0 || this.#core.wouldWait(payload))) {
      return new Promise((resolve, reject) => this.#waiting.push({ payload, resolve, reject }));
    }
    return this.#turn((now) => this.#core.send(now, payload));
  }

  /** @returns {"closed" | "connecting" | "up" | "waiting" | "gaveUp"} */
  get state() {
    return this.#core.state;
  }

  /** Whether the server is late and being probed. */
  get suspect() {
    return this.#core.liveness?.isSuspect ?? false;
  }

  /** When the next attempt starts, on the scale of `Date.now()`; null unless waiting. */
  get retryAt() {
    return this.#wall(this.#core.reconnect.retryAt);
  }

  /** The attempt under way, the next one while waiting, or the one that succeeded. */
  get attempt() {
    return this.#core.reconnect.shownAttempt;
  }

  /** The round trip, `{ smoothed, variation, last }`, or null before the first beat of a connection was answered. */
  get rtt() {
    return this.#core.liveness?.rtt ?? null;
  }

  /** Messages accepted and not yet acknowledged, greetings included. */
  get unacknowledged() {
    return this.#core.outbox.length;
  }

  /** Beats on this connection: `{ sent, answered }`. */
  get beats() {
    return this.#core.liveness?.beats ?? { sent: 0, answered: 0 };
  }

  /** What the browser says about the network. */
  get offline() {
    return this.#core.reconnect.offline;
  }

  // One turn: what happened goes into the core, what it wants is done, and the alarm is set.

  #turn(happened) {
    const now = this.#config.now();
    if (!this.#busy) this.#report(now);
    try {
      return happened(now);
    } finally {
      this.#drain();
    }
  }

  #drain() {
    // A listener that calls back in here leaves the rest to the loop that called it.
    if (this.#busy) return;
    this.#busy = true;
    try {
      do {
        for (let action = this.#core.poll(); action; action = this.#core.poll()) this.#perform(action);
        this.#report(this.#config.now());
      } while (this.#core.hasActions || this.#admit());
    } finally {
      this.#busy = false;
      this.#arm();
    }
  }

  /** Once all that is to be sent is sent, the WebSocket knows how much of it has not left. */
  #report(now) {
    if (this.#socket) this.#core.progressed(now, this.#socket.epoch, this.#socket.bufferedAmount());
  }

  #perform(action) {
    switch (action.do) {
      case "event":
        if (!this.#core.wanted) this.#unwatch();
        if ("retryAt" in action.detail) action.detail.retryAt = this.#wall(action.detail.retryAt);
        this.dispatchEvent(new CustomEvent(action.name, { detail: action.detail.message ?? action.detail }));
        break;
      case "credentials":
        this.#fetchCredentials(action.epoch, action.refresh);
        break;
      case "connect":
        this.#connect(action.epoch);
        break;
      case "hook":
        this.#runHook(action.epoch, action.opening);
        break;
      case "send":
        if (this.#socket?.epoch === action.epoch) this.#socket.send(action.bytes);
        break;
      case "close":
        this.#socket?.close();
        this.#socket = null;
        break;
    }
  }

  #connect(epoch) {
    const core = this.#core;
    let socket;
    try {
      socket = new this.#config.WebSocket(this.#config.url, [SUBPROTOCOL]);
    } catch (error) {
      const cause = { kind: "not-allowed", text: `the browser refuses to connect: ${error}` };
      return core.failed(this.#config.now(), epoch, cause);
    }
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#turn((now) => core.opened(now, epoch, socket.protocol));
    socket.onmessage = ({ data }) => {
      this.#turn((now) => {
        core.received(now, epoch, data);
        // In a hidden tab, messages come in time and timers do not.
        core.handleTimeout(now);
      });
    };
    socket.onclose = ({ code, reason }) => this.#turn((now) => core.ended(now, epoch, code, reason));
    // A close follows each error, and only it says something.
    socket.onerror = () => {};
    this.#socket = {
      epoch,
      bufferedAmount: () => socket.bufferedAmount,
      // Browsers drop what is sent to a closing WebSocket; others throw.
      send: (bytes) => socket.readyState === 1 && socket.send(bytes),
      close: () => {
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close(1000);
      },
    };
  }

  async #fetchCredentials(epoch, refresh) {
    try {
      const credentials = encodeMessage(await this.#config.credentials({ refresh })).bytes;
      this.#turn((now) => this.#core.gotCredentials(now, epoch, credentials));
    } catch (error) {
      const cause = { kind: "credentials", text: `the provider gave no credentials: ${error}` };
      this.#turn((now) => this.#core.failed(now, epoch, cause));
    }
  }

  async #runHook(epoch, opening) {
    const greet = (message) => {
      const payload = encodeMessage(message);
      return this.#turn((now) => this.#core.greet(now, epoch, payload));
    };
    try {
      await this.#config.onopen({ ...opening, greet });
      this.#turn((now) => this.#core.hookDone(now, epoch));
    } catch (error) {
      this.#turn((now) => this.#core.failed(now, epoch, { kind: "hook", text: `the hook onopen failed: ${error}` }));
    }
  }

  /** Lets messages in that wait for room. Whether there is something to do then. */
  #admit() {
    let admitted = false;
    while (this.#waiting.length > 0 && !this.#core.wouldWait(this.#waiting[0].payload)) {
      const { payload, resolve, reject } = this.#waiting.shift();
      try {
        resolve(this.#core.send(this.#config.now(), payload));
        admitted = true;
      } catch (error) {
        reject(error);
      }
    }
    return admitted;
  }

  #arm() {
    const { now, setTimeout, clearTimeout, defer, replyTimeout } = this.#config;
    const due = this.#core.pollTimeout();
    // Nothing tells when the bytes of a WebSocket have left: look.
    const nap = this.#core.buffered > 0 ? Math.min(100, replyTimeout / 10) : LONGEST_NAP;
    const at = due === null ? Infinity : Math.min(due, now() + nap);
    // One that comes too early does no harm, and one that is always put off never comes.
    if (this.#alarmAt <= at && due !== null) return;
    clearTimeout(this.#alarm);
    this.#alarmAt = at;
    if (due === null) return;
    const ring = () => {
      if (alarm !== this.#alarm) return;
      this.#alarmAt = Infinity;
      this.#turn((then) => this.#core.handleTimeout(then));
    };
    // What has arrived is to be heard before anybody is judged.
    const alarm = setTimeout(() => defer(ring), Math.ceil(Math.max(0, at - now())));
    this.#alarm = alarm;
  }

  #watch() {
    const { page } = this.#config;
    if (!page || this.#watched.length > 0) return;
    const hint = (what) => () => this.#turn((now) => this.#core.hint(now, what));
    const visible = () => page.document.visibilityState === "visible" && hint("visible")();
    // Every load ends with a pageshow; this one came back from the back/forward cache.
    const restored = ({ persisted }) => persisted && hint("visible")();
    this.#watched = [
      [page.window, "online", hint("online")],
      [page.window, "offline", hint("offline")],
      [page.window, "pageshow", restored],
      [page.document, "visibilitychange", visible],
      [page.document, "resume", hint("visible")],
    ];
    for (const [target, name, listener] of this.#watched) target.addEventListener(name, listener);
    this.#core.reconnect.offline = page.navigator.onLine === false;
  }

  #unwatch() {
    for (const [target, name, listener] of this.#watched) target.removeEventListener(name, listener);
    this.#watched = [];
  }

  #wall(at) {
    return at === null ? null : this.#config.wall() + (at - this.#config.now());
  }
}

/**
 * The link as a pure machine: what happened goes in with a time, `poll` says what to do, `pollTimeout` when to come
 * back. Everything from a socket carries the epoch of its attempt; what is stale is dropped.
 */
export class Core {
  constructor(config) {
    this.config = config;
    this.reconnect = new Reconnect(config);
    this.outbox = new Outbox(config.outbox);
    /** @type {Liveness | null} exists while a connection is established */
    this.liveness = null;
    /** @type {"down" | "credentials" | "connecting" | "handshake" | "established"} */
    this.phase = "down";
    this.epoch = 0;
    this.buffered = 0;
    this.wanted = false;
    this.up = false;
    this.receivedSeq = 0;
    this.token = null;
    this.refreshed = false;
    this.actions = [];
    this.forgetConnection();
  }

  /** @returns {"closed" | "connecting" | "up" | "waiting" | "gaveUp"} */
  get state() {
    return this.up ? "up" : { idle: "closed", connected: "connecting" }[this.reconnect.phase] ?? this.reconnect.phase;
  }

  // What the application does.

  open(now) {
    if (!this.wanted) this.downSince = now;
    this.wanted = true;
    if (this.reconnect.open()) this.attempt(now);
  }

  close(now) {
    if (!this.wanted) return;
    this.wanted = false;
    this.reconnect.close();
    if (this.isOpen) this.say({ type: Type.GOODBYE, reason: Reason.Closed });
    this.abandon();
    this.emit("closed", { unacknowledged: this.outbox.length });
  }

  retryNow(now) {
    if (this.reconnect.retryNow()) this.attempt(now);
  }

  /** Accepts a message and returns its ticket. */
  send(now, payload) {
    const { length } = payload.bytes;
    if (!this.wanted) throw new SendError("closed", "the link is closed or has given up; open it first");
    this.measure(length, this.limit);
    for (let entry; (entry = this.outbox.overflow(length)); ) this.dropped(entry, "overflow");
    if (!this.outbox.hasRoom(length)) {
      throw new SendError("full", `${this.outbox.length} messages wait to be acknowledged; wait, or raise the limits`);
    }
    const ticket = this.outbox.push(payload);
    this.pump(now);
    return ticket;
  }

  /** Whether the message would be accepted later, but not now. */
  wouldWait({ bytes }) {
    return this.wanted && bytes.length <= this.limit && !this.outbox.hasRoom(bytes.length);
  }

  /** A message of the hook, ahead of all that has not left yet. Whether this connection still takes it. */
  greet(now, epoch, payload) {
    if (epoch !== this.epoch || !this.hooked) return false;
    this.measure(payload.bytes.length, Math.min(this.config.messageLimit, this.peerLimit));
    this.outbox.pushGreeting(payload);
    this.pump(now);
    return true;
  }

  hookDone(now, epoch) {
    if (epoch !== this.epoch || !this.hooked) return;
    this.hooked = false;
    this.until = null;
    this.rise(now);
  }

  /** @param {"online" | "offline" | "visible"} hint */
  hint(now, hint) {
    this.reconnect.hint(now, hint);
    if (hint !== "visible") this.emit(hint, { retryAt: this.reconnect.retryAt });
    // Hints come in swarms; the path is probed for one of them, at most twice an interval.
    if (this.liveness && now - this.hintedAt >= this.liveness.interval / 2) {
      this.hintedAt = now;
      this.liveness.probeNow(now);
    }
    this.settle(now);
  }

  // What the driver saw.

  gotCredentials(now, epoch, credentials) {
    if (epoch !== this.epoch || this.phase !== "credentials") return;
    this.connect(now, credentials);
  }

  opened(now, epoch, protocol) {
    if (epoch !== this.epoch || this.phase !== "connecting") return;
    if (protocol !== SUBPROTOCOL) {
      return this.lose(now, { kind: "protocol", text: `the server does not speak ${SUBPROTOCOL}` });
    }
    this.enter(now, "handshake", this.config.handshakeTimeout);
    const { device, instance, interval, replyTimeout, messageLimit } = this.config;
    const received = this.token ? this.receivedSeq : 0;
    const { token, credentials } = this;
    this.say({
      type: Type.HELLO, version: VERSION, device, instance, attempt: epoch, interval, replyTimeout, messageLimit, token,
      received, credentials,
    });
    this.credentials = null;
  }

  /** A whole WebSocket message. */
  received(now, epoch, data) {
    if (epoch !== this.epoch || !this.isOpen) return;
    this.liveness?.received(now);
    try {
      if (typeof data === "string") throw new WireError("Malformed", "a text message");
      const bytes = new Uint8Array(data);
      let offset = 0;
      do {
        const decoded = decodeFrame(bytes, offset, this.phase === "established", this.config.messageLimit);
        if (!decoded) throw new WireError("Malformed", "a frame is not whole");
        offset = decoded.next;
        this.hear(now, decoded.frame);
      } while (offset < bytes.length && this.isOpen);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.part(now, { kind: "protocol", text: `the server broke the protocol: ${error.message}` }, error.reason);
    }
    this.settle(now);
  }

  /** Of what was sent on this connection, so many bytes have not left. */
  progressed(now, epoch, buffered) {
    if (epoch !== this.epoch || !this.isOpen) return;
    const left = this.handed - buffered;
    this.buffered = buffered;
    if (left > this.left) {
      this.left = left;
      this.liveness?.writeProgressed(now, buffered === 0);
    }
    if (this.beatEnd !== null && (left >= this.beatEnd || buffered === 0)) {
      this.beatEnd = null;
      this.liveness?.beatWritten(now, this.beatFrom ?? now);
    }
    this.pump(now);
  }

  /** The WebSocket closed, or never opened. */
  ended(now, epoch, code, reason) {
    if (epoch !== this.epoch || this.phase === "down") return;
    const words = `${code}${reason ? `, ${reason}` : ""}`;
    const text = this.phase === "connecting" ? `could not connect (${words})` : `the connection ended (${words})`;
    this.lose(now, { kind: "socket", code, text });
  }

  /** What the attempt needs from our own side cannot be had. */
  failed(now, epoch, cause) {
    if (epoch !== this.epoch || this.phase === "down") return;
    if (cause.kind === "hook" && !this.hooked) return;
    this.part(now, cause, Reason.GoingAway);
  }

  /** Does what is due. Early, late and repeated calls are safe. */
  handleTimeout(now) {
    if (this.until !== null && this.until <= now) {
      const phase = this.hooked ? "hook" : this.phase;
      const text = { credentials: "the provider gave no credentials", connecting: "could not connect",
        handshake: "the server did not answer our HELLO", hook: "the hook onopen did not finish" }[phase];
      const reason = this.hooked ? Reason.GoingAway : Reason.TimedOut;
      this.part(now, { kind: "timeout", phase, text: `${text} in time` }, reason);
    }
    this.liveness?.handleTimeout(now);
    if (this.reconnect.handleTimeout(now)) this.attempt(now);
    this.settle(now);
  }

  /** The next thing to do, until there is none. */
  poll() {
    return this.actions.shift() ?? null;
  }

  get hasActions() {
    return this.actions.length > 0;
  }

  /** When `handleTimeout` has something to do; null for never. */
  pollTimeout() {
    const moments = [this.until, this.liveness?.pollTimeout() ?? null, this.reconnect.retryAt];
    return earliest(...moments);
  }

  // The inside.

  get isOpen() {
    return this.phase === "handshake" || this.phase === "established";
  }

  /** The largest message that can ever be accepted. */
  get limit() {
    return Math.min(this.config.messageLimit, this.config.outbox.bytes);
  }

  measure(length, limit) {
    if (length > limit) throw new SendError("too-large", `a message of ${length} bytes exceeds the limit of ${limit}`);
  }

  attempt(now) {
    this.epoch += 1;
    this.forgetConnection();
    this.emit("connecting", { attempt: this.reconnect.attempt });
    if (typeof this.config.credentials !== "function") return this.connect(now, this.config.credentials);
    this.enter(now, "credentials", this.config.credentialsTimeout);
    this.actions.push({ do: "credentials", epoch: this.epoch, refresh: this.refreshed });
  }

  connect(now, credentials) {
    this.credentials = credentials;
    this.enter(now, "connecting", this.config.connectTimeout);
    this.actions.push({ do: "connect", epoch: this.epoch });
  }

  enter(now, phase, timeout) {
    this.phase = phase;
    this.until = now + timeout;
  }

  forgetConnection() {
    this.liveness = null;
    this.until = null;
    this.credentials = null;
    this.hooked = this.up = false;
    /** Bytes given to the WebSocket; how many of them have left; where the beat ends that has not left. */
    this.handed = this.left = this.buffered = 0;
    this.beatEnd = this.beatFrom = null;
    this.echo = null;
    this.ackDue = false;
    this.hintedAt = -Infinity;
    this.beatsPaidUntil = -Infinity;
    this.peerLimit = Infinity;
  }

  hear(now, frame) {
    if (this.phase === "handshake") {
      if (frame.type === Type.WELCOME) return this.beWelcomed(now, frame);
      if (frame.type === Type.REFUSE || frame.type === Type.GOODBYE) return this.lose(now, farewell("refused", frame));
      throw new WireError("Unexpected", "neither WELCOME nor REFUSE came");
    }
    switch (frame.type) {
      case Type.BEAT:
        if (!this.payBeat(now)) {
          return this.part(now, { kind: "flood", text: "the server sent too many beats" }, Reason.Flood);
        }
        this.echo = frame.seq;
        break;
      case Type.ECHO:
        this.liveness.echoReceived(now, frame.seq);
        break;
      case Type.DATA:
      case Type.TEXT:
        this.ackDue = true;
        if (frame.seq > this.receivedSeq + 1) {
          throw new WireError("Malformed", `message ${frame.seq} after ${this.receivedSeq}`);
        }
        if (frame.seq > this.receivedSeq) {
          this.receivedSeq = frame.seq;
          this.emit("message", { message: frame.message });
        }
        break;
      case Type.ACK:
        this.acknowledged(this.outbox.acknowledge(frame.seq));
        break;
      case Type.GOODBYE:
        return this.lose(now, farewell("goodbye", frame));
      case Type.HELLO:
      case Type.WELCOME:
      case Type.REFUSE:
        throw new WireError("Unexpected", "a frame of the handshake on an established connection");
    }
    this.reconnect.proofOfLife();
  }

  beWelcomed(now, welcome) {
    if (welcome.version > VERSION) {
      const cause = { kind: "version", text: `the server answers with version ${welcome.version}` };
      return this.part(now, cause, Reason.UnsupportedVersion);
    }
    const inDoubt = this.takeUp(welcome);
    this.token = welcome.token;
    this.refreshed = false;
    this.phase = "established";
    this.until = null;
    this.peerLimit = welcome.messageLimit;
    // The server decides, but it may not make us beat very much more often than we asked for.
    const interval = clamp(welcome.interval, Math.max(this.config.interval / 10, SHORTEST), LONGEST_INTERVAL);
    const replyTimeout = clamp(welcome.replyTimeout, Math.min(this.config.replyTimeout, interval), interval);
    this.liveness = new Liveness({ ...this.config, interval, replyTimeout }, now);
    this.reconnect.connected(now);
    // The server learns that its welcome arrived.
    this.ackDue = true;
    this.opening = { resumed: welcome.resumed, inDoubt };
    if (!this.config.onopen) return this.rise(now);
    this.hooked = true;
    this.until = now + this.config.handshakeTimeout;
    this.actions.push({ do: "hook", epoch: this.epoch, opening: this.opening });
  }

  /** Goes on with the session, or begins another. Returns how many messages may arrive twice. */
  takeUp(welcome) {
    const asked = this.token !== null;
    // A session that cannot go on is given up; the next attempt begins a new one.
    this.token = null;
    if (!welcome.resumed) {
      if (welcome.received > 0) throw new WireError("Malformed", "a new session that has received messages");
      this.receivedSeq = 0;
      return this.outbox.restart();
    }
    if (!asked) throw new WireError("Malformed", "it resumes a session that we did not ask for");
    if (this.outbox.hasNumberedAbove(welcome.messageLimit)) {
      throw new WireError("TooLarge", "a message of the session is above the server's new limit");
    }
    this.acknowledged(this.outbox.resume(welcome.received));
    return 0;
  }

  rise(now) {
    const { interval, replyTimeout, worstCaseDetection } = this.liveness;
    this.up = true;
    const took = now - this.downSince;
    const { attempt } = this.reconnect;
    this.emit("up", { ...this.opening, attempt, took, interval, replyTimeout, worstCaseDetection });
    this.pump(now);
  }

  acknowledged(settled) {
    const tickets = settled.map(({ ticket }) => ticket).filter((ticket) => ticket > 0);
    if (tickets.length > 0) this.emit("acknowledged", { through: tickets.at(-1), count: tickets.length });
  }

  dropped({ ticket, bytes, type }, reason) {
    this.emit("dropped", { ticket, payload: type === Type.TEXT ? decodeText(bytes) : bytes, reason });
  }

  /** The server may send 32 beats at once, and then 20 an interval. */
  payBeat(now) {
    const price = this.liveness.interval / 20;
    this.beatsPaidUntil = Math.max(this.beatsPaidUntil, now) + price;
    return this.beatsPaidUntil - now <= 32 * price;
  }

  /** Hands on what liveness wants, and sends what is due. */
  settle(now) {
    for (let action; this.liveness && (action = this.liveness.poll()); ) {
      if (action.do === "beat") {
        this.beatFrom = this.buffered === 0 ? now : null;
        this.say({ type: Type.BEAT, seq: action.seq });
        this.beatEnd = this.handed;
        this.emit("beat", { seq: action.seq });
      } else if (action.do === "dead") {
        this.part(now, { kind: "dead", text: action.text }, Reason.Silent);
      } else {
        this.emit(action.do, action.detail);
      }
    }
    this.pump(now);
  }

  pump(now) {
    if (this.phase !== "established") return;
    const answers = [];
    // A server that does not read gets one answer when it reads again, not one for each of its frames.
    if (this.buffered < HIGH_WATER) {
      if (this.echo !== null) answers.push({ type: Type.ECHO, seq: this.echo });
      if (this.ackDue) answers.push({ type: Type.ACK, seq: this.receivedSeq });
      if (answers.length > 0) this.say(...answers);
      this.echo = null;
      this.ackDue = false;
    }
    while (this.buffered < HIGH_WATER) {
      const next = this.outbox.peek(this.hooked);
      if (!next) break;
      if (next.seq === null && next.entry.bytes.length > this.peerLimit) {
        this.dropped(this.outbox.dropNext(), "peer-limit");
        continue;
      }
      const { seq, entry } = this.outbox.take();
      this.say({ type: entry.type, seq, message: entry.bytes });
    }
    if (this.buffered > 0) this.liveness.writePending(now);
  }

  /** Frames that leave in one WebSocket message. */
  say(...frames) {
    const bytes = encodeFrames(frames);
    this.handed += bytes.length;
    this.buffered += bytes.length;
    this.actions.push({ do: "send", epoch: this.epoch, bytes });
  }

  /** Ends the connection for a cause that the server should hear: to close with 1000 and say nothing ends the session. */
  part(now, cause, reason) {
    if (this.isOpen) this.say({ type: Type.GOODBYE, reason, detail: cause.text });
    this.lose(now, cause);
  }

  lose(now, cause) {
    const evidence = this.liveness?.evidence(now) ?? null;
    const wasUp = this.up;
    if (wasUp) this.downSince = now;
    this.abandon();
    this.reconnect.lost(now, this.retry(cause));
    const { retryAt, shownAttempt: attempt, inConflict: conflict, gaveUp } = this.reconnect;
    this.emit("down", { cause, retryAt, attempt, wasUp, conflict, evidence });
    if (gaveUp) {
      this.wanted = false;
      this.emit("gaveUp", { cause, why: gaveUp, unacknowledged: this.outbox.length });
    }
  }

  abandon() {
    if (this.phase !== "down") this.actions.push({ do: "close", epoch: this.epoch });
    this.phase = "down";
    this.forgetConnection();
    this.outbox.forgetGreetings();
  }

  /** What the end of a connection says about the next attempt. */
  retry(cause) {
    switch (cause.kind) {
      case "not-allowed":
      case "version":
        return { fatal: true };
      case "socket":
        return { fatal: this.config.fatalCodes.includes(cause.code) };
      case "refused":
      case "goodbye":
        break;
      default:
        return {};
    }
    if (cause.code === Reason.Unauthorized && typeof this.config.credentials === "function" && !this.refreshed) {
      this.refreshed = true;
      return { hurry: true };
    }
    // Our HELLO is too large: so will the next one be.
    const tooLarge = cause.kind === "refused" && cause.code === Reason.TooLarge;
    if (FATAL.includes(cause.code) || tooLarge) return { fatal: true };
    if (cause.code === Reason.Replaced) return { conflict: true };
    return { after: cause.retryAfter, spread: cause.spread };
  }

  emit(name, detail) {
    this.actions.push({ do: "event", name, detail });
  }
}

/**
 * Is the server alive? Two clocks: what we owe it (a beat every interval) depends only on what we sent, what we think
 * of it only on what we received. The same machine as `core/src/liveness`, for the judgement by round trips.
 */
export class Liveness {
  constructor({ interval, replyTimeout, writeStall, probes, random }, now) {
    Object.assign(this, { interval, replyTimeout, writeStall, probes, random });
    this.stallLimit = Math.max(60_000, writeStall);
    /** Links that were opened together do not beat together. */
    this.nextBeat = now + interval * (0.5 + random() / 2);
    this.lastReceived = this.patienceFrom = now;
    /** When the first unanswered beat was asked for, and when it left; when the newest one left. */
    this.asked = this.awaiting = this.sampleFrom = null;
    /** The end of a suspect's last chance. */
    this.verdict = null;
    this.stalled = null;
    this.rtt = null;
    this.seq = this.lastEcho = this.answered = this.localStalls = this.forgiven = this.probesLeft = 0;
    this.unwritten = this.dead = false;
    this.actions = [];
  }

  /** The longest time from the server's death to the verdict, if timers fire in time. */
  get worstCaseDetection() {
    return this.interval + Math.max(this.replyTimeout + this.#suspicion(), this.writeStall + this.replyTimeout);
  }

  get isSuspect() {
    return this.verdict !== null && !this.dead;
  }

  get beats() {
    return { sent: this.seq - (this.unwritten ? 1 : 0), answered: this.answered };
  }

  evidence(now) {
    const { beats, rtt, localStalls } = this;
    const silentFor = now - this.lastReceived;
    return { silentFor, beatsSent: beats.sent, beatsAnswered: beats.answered, rtt, localStalls };
  }

  /** Anything that arrives is life. */
  received(now) {
    this.lastReceived = this.patienceFrom = now;
    if (!this.unwritten) this.asked = null;
    this.awaiting = null;
    this.forgiven = 0;
    if (!this.isSuspect) return;
    this.verdict = null;
    this.nextBeat = this.#regularBeat(now);
    this.actions.push({ do: "recovered", detail: {} });
  }

  echoReceived(now, seq) {
    if (seq <= this.lastEcho || seq > this.seq) return;
    this.lastEcho = seq;
    this.answered += 1;
    if (seq < this.seq) return;
    this.unwritten = false;
    if (this.sampleFrom === null) return;
    this.rtt = nextRtt(this.rtt, now - this.sampleFrom);
    this.sampleFrom = null;
    this.actions.push({ do: "rtt", detail: this.rtt });
  }

  /** The beat has left; `from` is when its round trip began. */
  beatWritten(now, from) {
    if (!this.unwritten) return;
    this.unwritten = false;
    this.sampleFrom = from;
    this.awaiting ??= now;
  }

  writePending(now) {
    this.stalled ??= now;
  }

  writeProgressed(now, all) {
    this.stalled = all ? null : now;
  }

  /** Something outside says that the path may have changed. Judges nobody. */
  probeNow(now) {
    if (this.asked === null && this.verdict === null && !this.dead) this.#beat(now);
  }

  pollTimeout() {
    return this.#next()?.at ?? null;
  }

  /** A late call is a stall of our own, and nobody is judged by the time we were away: one probe, then the verdict. */
  handleTimeout(now) {
    let due = this.#next();
    if (!due || due.at > now) return;
    if (now - due.at > Math.max(this.replyTimeout / 2, PUNCTUAL) && this.forgiven < MOST_FORGIVEN) {
      this.#forgive(now);
      due = this.#next();
    }
    for (; due && due.at <= now; due = this.#next()) this.#fire(now, due);
  }

  poll() {
    return this.actions.shift() ?? null;
  }

  #next() {
    if (this.dead) return null;
    const moments = {
      beat: this.nextBeat,
      verdict: this.verdict,
      reply: this.verdict === null && this.awaiting !== null ? this.awaiting + this.replyTimeout : null,
      stall: this.#stallDue(),
    };
    const at = earliest(...Object.values(moments));
    return at === null ? null : { at, what: Object.keys(moments).find((what) => moments[what] === at) };
  }

  #fire(now, { at, what }) {
    if (what === "beat" && this.verdict === null) {
      this.#beat(now);
    } else if (what === "beat") {
      this.#sendBeat(now);
      this.probesLeft -= 1;
      this.nextBeat = this.probesLeft > 0 ? now + this.#probeSpacing() : null;
    } else if (what === "reply" && this.forgiven === 0 && this.probes > 0) {
      // If the beat left us late, the time that it waited counts as well.
      const asked = Math.max(this.asked ?? at - this.replyTimeout, this.patienceFrom);
      this.verdict = Math.max(asked + this.replyTimeout + this.#suspicion(), at);
      this.probesLeft = this.probes;
      this.nextBeat = now;
      this.actions.push({ do: "suspect", detail: { silentFor: at - this.lastReceived } });
    } else {
      this.dead = true;
      this.actions = [{ do: "dead", text: what === "stall" ? "our bytes did not move" : "no reply to our beats" }];
    }
  }

  #beat(now) {
    this.#sendBeat(now);
    this.nextBeat = this.#regularBeat(now);
  }

  /** At most one beat of ours waits to leave: more would only pile up behind it. */
  #sendBeat(now) {
    if (this.unwritten) return;
    this.unwritten = true;
    this.seq += 1;
    this.sampleFrom = null;
    if (this.awaiting === null) this.asked = now;
    this.actions.push({ do: "beat", seq: this.seq });
  }

  #forgive(now) {
    this.localStalls += 1;
    this.forgiven += 1;
    this.patienceFrom = now;
    this.awaiting = this.sampleFrom = null;
    if (this.stalled !== null) this.stalled = now;
    if (this.isSuspect) {
      // Its suspicion stays reported, and the probe below is its last one.
      this.verdict = now + this.replyTimeout;
      this.probesLeft = 1;
    }
    this.nextBeat = now;
  }

  /** When our bytes have waited for too long. Meanwhile a server that is heard is only slow, up to a limit. */
  #stallDue() {
    // If an earlier beat has left and is unanswered, its reply deadline decides.
    const waiting = this.unwritten && this.awaiting === null ? this.asked : null;
    const since = earliest(this.stalled, waiting);
    if (since === null) return null;
    const limit = this.stalled === null ? null : this.stalled + this.stallLimit;
    return earliest(limit, Math.max(since, this.patienceFrom) + this.writeStall);
  }

  #suspicion() {
    return this.probes === 0 ? 0 : this.replyTimeout;
  }

  /** Each interval is shortened at random, never lengthened: the server may rely on the one agreed on. */
  #regularBeat(now) {
    return now + this.interval * (1 - JITTER * this.random());
  }

  /** Such that all probes fit into the suspect's last chance and none is a burst. */
  #probeSpacing() {
    const widest = this.replyTimeout / Math.max(1, this.probes);
    const estimate = this.rtt ? this.rtt.smoothed + 4 * this.rtt.variation : 200;
    return clamp(estimate, widest / 4, widest);
  }
}

/** RFC 6298, section 2. */
function nextRtt(rtt, last) {
  if (!rtt) return { smoothed: last, variation: last / 2, last };
  const variation = (3 * rtt.variation + Math.abs(rtt.smoothed - last)) / 4;
  return { smoothed: (7 * rtt.smoothed + last) / 8, variation, last };
}

/** When to try again? The same machine as `core/src/reconnect`, with full jitter. */
export class Reconnect {
  constructor({ floor, base, cap, firstSpread, stable, maxAttempts, random }) {
    Object.assign(this, { floor, base, cap, firstSpread, stable, maxAttempts, random });
    /** @type {"idle" | "waiting" | "connecting" | "connected" | "gaveUp" | "closed"} */
    this.phase = "idle";
    this.pause = null;
    this.gaveUp = null;
    this.offline = false;
    this.nextHint = -Infinity;
    this.forgetFailures();
    this.beginEpisode();
  }

  get retryAt() {
    return this.phase === "waiting" ? this.pause.at : null;
  }

  get shownAttempt() {
    return this.phase === "waiting" ? this.attempt + 1 : this.attempt;
  }

  /** Others with the same device id throw us out again and again. */
  get inConflict() {
    return this.conflicts >= 3;
  }

  /** Whether an attempt begins. */
  open() {
    if (this.phase === "connecting" || this.phase === "connected") return false;
    if (this.phase !== "waiting") {
      this.forgetFailures();
      this.beginEpisode();
    }
    return this.begin();
  }

  close() {
    this.phase = "closed";
  }

  retryNow() {
    return this.phase === "waiting" && this.begin();
  }

  connected(now) {
    this.phase = "connected";
    this.since = now;
    this.alive = this.overtaken = false;
  }

  proofOfLife() {
    this.alive = true;
  }

  /** @param {{ fatal?: boolean, conflict?: boolean, hurry?: boolean, after?: number, spread?: number }} retry */
  lost(now, retry) {
    if (this.phase === "connected" && this.alive && now - this.since >= this.stable) {
      this.beginEpisode();
      if (!retry.conflict) this.forgetFailures();
    }
    if (retry.conflict) this.conflicts += 1;
    this.gaveUp = retry.fatal ? "fatal" : this.spent >= this.maxAttempts ? "attempts" : null;
    if (this.gaveUp) {
      this.phase = "gaveUp";
      return;
    }
    const { wait, firm } = this.draw(retry);
    // Without a network, a failure says nothing about the server.
    if (!this.offline) this.failures += 1;
    this.phase = "waiting";
    this.pause = { at: now + wait, started: now, notBefore: now + (firm ? wait : this.floor), hinted: false };
    if (this.offline) this.stretch();
    else if (this.overtaken) this.cut(now);
  }

  /** Decides about waits only: it neither revives a closed link nor touches an attempt or a connection. */
  hint(now, hint) {
    if (hint !== "visible") this.offline = hint === "offline";
    if (this.offline) return this.stretch();
    this.overtaken = this.phase === "connecting";
    this.cut(now);
  }

  /** Whether an attempt begins. */
  handleTimeout(now) {
    if (this.phase !== "waiting" || this.pause.at > now) return false;
    if (this.pause.hinted) this.nextHint = now + 1000;
    return this.begin();
  }

  begin() {
    this.attempt += 1;
    if (!this.offline) this.spent += 1;
    this.phase = "connecting";
    this.overtaken = false;
    return true;
  }

  beginEpisode() {
    this.attempt = this.spent = 0;
    this.hurried = false;
  }

  forgetFailures() {
    this.failures = this.conflicts = 0;
  }

  /** The length of the wait, and whether hints must leave it alone. */
  draw({ conflict, hurry, after = 0, spread = 0 }) {
    const most = 3_600_000;
    const [low, high] = [Math.min(after, most), Math.min(after, most) + Math.min(spread, most)];
    if (conflict) {
      const low = this.doubled(this.conflicts);
      return { wait: Math.max(this.between(low, Math.min(2 * low, this.cap)), this.backoff()), firm: true };
    }
    if (high >= this.floor) return { wait: this.between(Math.max(low, this.floor), high), firm: true };
    if ((hurry || high > 0) && !this.hurried) {
      this.hurried = true;
      return { wait: this.between(this.floor, Math.min(2 * this.floor, this.cap)), firm: false };
    }
    return { wait: this.backoff(), firm: false };
  }

  /** A loss usually hits many clients at once, so even the first retry is spread. */
  backoff() {
    const high = this.failures === 0 ? this.floor + this.firstSpread : this.doubled(this.failures);
    return this.between(this.floor, Math.min(high, this.cap));
  }

  doubled(exponent) {
    return Math.min(this.cap, this.base * 2 ** exponent);
  }

  between(low, high) {
    return low + (high - low) * this.random();
  }

  /** A wrong hint must not disable the link, so the wait still ends. */
  stretch() {
    if (this.phase !== "waiting") return;
    this.pause.at = Math.max(this.pause.at, this.pause.started + this.cap);
    this.pause.hinted = false;
  }

  cut(now) {
    if (this.phase !== "waiting" || this.pause.hinted) return;
    const soon = Math.max(now + this.floor * this.random(), this.pause.notBefore, this.nextHint);
    if (soon < this.pause.at) Object.assign(this.pause, { at: soon, hinted: true });
  }
}

/**
 * What was accepted and is not acknowledged. In this order: what has a number, the greetings of this connection's hook
 * that have none yet, and the other messages.
 */
class Outbox {
  constructor(limits) {
    this.limits = limits;
    this.queue = [];
    this.size = this.acknowledged = this.numbered = this.sent = this.tickets = 0;
  }

  get length() {
    return this.queue.length;
  }

  hasRoom(bytes) {
    return this.queue.length < this.limits.messages && this.size + bytes <= this.limits.bytes;
  }

  push(payload) {
    this.tickets += 1;
    this.queue.push({ ...payload, ticket: this.tickets });
    this.size += payload.bytes.length;
    return this.tickets;
  }

  /** Has no limits: if a full outbox refused greetings, it would stay full. */
  pushGreeting(payload) {
    const waiting = this.queue.findIndex(({ ticket }, index) => index >= this.numbered && ticket > 0);
    this.queue.splice(waiting < 0 ? this.queue.length : waiting, 0, { ...payload, ticket: 0 });
    this.size += payload.bytes.length;
  }

  /** With "drop-oldest": the next message that must go so that one of so many bytes fits, if that helps. */
  overflow(bytes) {
    if (this.limits.overflow !== "drop-oldest" || this.hasRoom(bytes)) return null;
    const numbered = this.queue.slice(0, this.numbered);
    const left = numbered.reduce((sum, entry) => sum + entry.bytes.length, 0);
    if (this.numbered >= this.limits.messages || left + bytes > this.limits.bytes) return null;
    const oldest = this.queue.findIndex(({ ticket }, index) => index >= this.numbered && ticket > 0);
    return oldest < 0 ? null : this.#remove(oldest);
  }

  /** The next to leave on this connection; while `held`, only what has a number already, and greetings. */
  peek(held) {
    const entry = this.queue[this.sent];
    const isNew = this.sent >= this.numbered;
    if (!entry || (held && isNew && entry.ticket > 0)) return null;
    return { entry, seq: isNew ? null : this.acknowledged + this.sent + 1 };
  }

  take() {
    const entry = this.queue[this.sent];
    this.sent += 1;
    this.numbered = Math.max(this.numbered, this.sent);
    return { entry, seq: this.acknowledged + this.sent };
  }

  dropNext() {
    return this.#remove(this.sent);
  }

  hasNumberedAbove(limit) {
    return this.queue.slice(0, this.numbered).some(({ bytes }) => bytes.length > limit);
  }

  /** The server has everything up to `seq`. What that settles. */
  acknowledge(seq) {
    const highest = this.acknowledged + this.sent;
    if (seq > highest) throw new WireError("Malformed", `ACK ${seq}, and the highest that was sent is ${highest}`);
    return this.#settle(Number(seq));
  }

  /** A new connection of the same session. */
  resume(received) {
    const highest = this.acknowledged + this.numbered;
    if (received < this.acknowledged || received > highest) {
      throw new WireError("Malformed", `WELCOME says ${received}, outside of ${this.acknowledged} to ${highest}`);
    }
    const settled = this.#settle(Number(received));
    this.sent = 0;
    return settled;
  }

  /** A new session: all leaves again. How many messages may arrive twice. Its hook says its own greetings. */
  restart() {
    const inDoubt = this.queue.slice(0, this.numbered).filter(({ ticket }) => ticket > 0).length;
    this.acknowledged = this.numbered = this.sent = 0;
    this.forgetGreetings();
    return inDoubt;
  }

  /** Greetings that have no number die with their connection. */
  forgetGreetings() {
    for (let index = this.queue.length - 1; index >= this.numbered; index -= 1) {
      if (this.queue[index].ticket === 0) this.#remove(index);
    }
  }

  #settle(seq) {
    const settled = this.queue.splice(0, Math.max(0, seq - this.acknowledged));
    for (const { bytes } of settled) this.size -= bytes.length;
    this.acknowledged += settled.length;
    this.numbered -= settled.length;
    this.sent = Math.max(0, this.sent - settled.length);
    return settled;
  }

  #remove(index) {
    const [entry] = this.queue.splice(index, 1);
    this.size -= entry.bytes.length;
    return entry;
  }
}

// Frames: docs/protocol.md, sections 2 to 6.

export const Type = {
  HELLO: 0x01, WELCOME: 0x02, REFUSE: 0x03, BEAT: 0x10, ECHO: 0x11, DATA: 0x20, ACK: 0x21, TEXT: 0x22, GOODBYE: 0x30,
};

export const Reason = {
  Closed: 0, GoingAway: 1, Replaced: 2, Unauthorized: 3, Forbidden: 4, Busy: 5, UnsupportedVersion: 6, Malformed: 7,
  TooLarge: 8, Flood: 9, TimedOut: 10, Silent: 11, Failed: 12, NotHere: 13,
};

const FATAL = [Reason.Closed, Reason.Unauthorized, Reason.Forbidden, Reason.UnsupportedVersion, Reason.NotHere];
const MAGIC = [0x4b, 0x50, 0x42, 0x54];
const HELLO_LIMIT = 4096;
const LARGEST_MESSAGE = 2 ** 28 - 1 - 10;

/** The server broke the protocol. `kind` is that of the protocol's test vectors. */
export class WireError extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
    this.reason = kind === "TooLarge" ? Reason.TooLarge : Reason.Malformed;
  }
}

/** A message that was not accepted: `code` is "full", "too-large" or "closed". Nothing changed. */
export class SendError extends Error {
  name = "SendError";

  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** Reads the fields of a body, or the length in a header. */
export class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  take(count) {
    if (this.bytes.length - this.at < count) throw new WireError("Malformed", "a frame ends before its last field");
    this.at += count;
    return this.bytes.slice(this.at - count, this.at);
  }

  u8() {
    return this.take(1)[0];
  }

  flag() {
    const value = this.u8();
    if (value > 1) throw new WireError("Malformed", `a flag is ${value}`);
    return value === 1;
  }

  /** An unsigned LEB128 of at most so many bits: a number, or a bigint above 2^53 - 1. Both compare with numbers. */
  varint(bits) {
    let value = 0n;
    for (let shift = 0; ; shift += 7) {
      const byte = this.u8();
      const last = byte < 0x80;
      if (last && byte === 0 && shift > 0) throw new WireError("Malformed", "a number is longer than needed");
      if (shift + 7 >= bits && (!last || byte >= 2 ** (bits - shift))) {
        throw new WireError("Malformed", `a number has more than ${bits} bits`);
      }
      value |= BigInt(byte & 0x7f) << BigInt(shift);
      if (last) return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
    }
  }

  magic() {
    if (this.take(4).some((byte, index) => byte !== MAGIC[index])) throw new WireError("Malformed", "wrong magic");
    const version = this.u8();
    if (version === 0) throw new WireError("Malformed", "version 0");
    return version;
  }

  text() {
    return decodeText(this.take(this.varint(32)));
  }

  rest() {
    return this.take(this.bytes.length - this.at);
  }
}

/**
 * The frame that begins at `offset`, and where the next one begins; null if more bytes are outstanding.
 * @throws {WireError} as soon as the bytes that are there decide it
 */
export function decodeFrame(bytes, offset, established, messageLimit) {
  if (offset >= bytes.length) return null;
  const type = bytes[offset];
  const handshake = [Type.HELLO, Type.WELCOME, Type.REFUSE, Type.GOODBYE].includes(type);
  if (!established && !handshake) throw new WireError("Unexpected", `type ${type} in the handshake`);
  const header = new Reader(bytes.subarray(offset + 1, offset + 5));
  // Four bytes decide. Fewer, all of which say that another one follows, do not.
  if (header.bytes.length < 4 && header.bytes.every((byte) => byte >= 0x80)) return null;
  const length = header.varint(28);
  const limit = bodyLimit(type, established, messageLimit);
  if (length > limit) throw new WireError("TooLarge", `a frame of ${length} bytes, above ${limit}`);
  const begin = offset + 1 + header.at;
  if (bytes.length - begin < length) return null;
  const reader = new Reader(bytes.subarray(begin, begin + length));
  return { frame: decodeBody(type, reader, messageLimit), next: begin + length };
}

function bodyLimit(type, established, messageLimit) {
  if (!established || type === Type.HELLO || type === Type.WELCOME) return HELLO_LIMIT;
  if (type === Type.BEAT) return 32;
  if (type === Type.DATA || type === Type.TEXT) return messageLimit + 10;
  return Object.values(Type).includes(type) ? 512 : Math.max(messageLimit + 10, 512);
}

function decodeBody(type, reader, messageLimit) {
  switch (type) {
    case Type.WELCOME: {
      const version = reader.magic();
      const token = reader.take(16);
      const resumed = reader.flag();
      const [interval, replyTimeout] = [reader.varint(32), reader.varint(32)];
      const [messageLimit, received] = [reader.varint(64), reader.varint(64)];
      return { type, version, token, resumed, interval, replyTimeout, messageLimit, received };
    }
    case Type.REFUSE:
    case Type.GOODBYE: {
      const reason = reader.u8();
      const [retryAfter, spread] = [reader.varint(32), reader.varint(32)];
      const length = reader.varint(32);
      if (length > 120) throw new WireError("Malformed", `a detail of ${length} bytes`);
      return { type, reason, retryAfter, spread, detail: decodeText(reader.take(length)) };
    }
    case Type.BEAT:
    case Type.ECHO:
      return { type, seq: reader.varint(32) };
    case Type.ACK:
      return { type, seq: reader.varint(64) };
    case Type.DATA:
    case Type.TEXT: {
      const seq = reader.varint(64);
      if (seq === 0) throw new WireError("Malformed", "a message with the number 0");
      const message = reader.rest();
      if (message.length > messageLimit) throw new WireError("TooLarge", `a message of ${message.length} bytes`);
      return { type, seq, message: type === Type.TEXT ? decodeText(message) : message };
    }
    default:
      // HELLO is not for us, and types of later versions are skipped.
      return { type };
  }
}

/** Frames one after the other, as they stand in one WebSocket message. */
export function encodeFrames(frames) {
  const parts = frames.flatMap((frame) => {
    const body = encodeBody(frame);
    const length = body.reduce((sum, part) => sum + part.length, 0);
    return [[frame.type], varint(length), ...body];
  });
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function encodeBody(frame) {
  switch (frame.type) {
    case Type.HELLO: {
      const device = utf8(frame.device);
      return [
        MAGIC, [frame.version], varint(device.length), device, frame.instance, varint(frame.attempt),
        varint(frame.interval), varint(frame.replyTimeout), varint(frame.messageLimit),
        frame.token ? [1, ...frame.token] : [0], varint(frame.received), varint(frame.credentials.length),
        frame.credentials,
      ];
    }
    case Type.WELCOME:
      return [
        MAGIC, [frame.version], frame.token, [frame.resumed ? 1 : 0], varint(frame.interval),
        varint(frame.replyTimeout), varint(frame.messageLimit), varint(frame.received),
      ];
    case Type.REFUSE:
    case Type.GOODBYE: {
      const detail = cutText(frame.detail ?? "", 120);
      return [[frame.reason], varint(frame.retryAfter ?? 0), varint(frame.spread ?? 0), varint(detail.length), detail];
    }
    case Type.DATA:
    case Type.TEXT:
      return [varint(frame.seq), frame.message];
    default:
      return [varint(frame.seq)];
  }
}

function varint(value) {
  const bytes = [];
  for (let rest = BigInt(value); ; ) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    if (rest === 0n) return [...bytes, low];
    bytes.push(low | 0x80);
  }
}

function farewell(kind, { reason, retryAfter, spread, detail }) {
  const name = Object.keys(Reason).find((name) => Reason[name] === reason) ?? `reason ${reason}`;
  const text = `${kind === "refused" ? "refused" : "the server said goodbye"}: ${name}${detail ? `, ${detail}` : ""}`;
  return { kind, code: reason, reason: name, detail, retryAfter, spread, text };
}

function isMessage(message) {
  return typeof message === "string" || message instanceof ArrayBuffer || ArrayBuffer.isView(message);
}

function encodeMessage(message) {
  if (typeof message === "string") return { type: Type.TEXT, bytes: utf8(message) };
  if (!isMessage(message)) throw new TypeError(`give a string, an ArrayBuffer or a view of one, not ${typeof message}`);
  const { buffer = message, byteOffset = 0, byteLength } = message;
  // Copied: the application may write to its buffer before the server has acknowledged the message.
  return { type: Type.DATA, bytes: new Uint8Array(buffer, byteOffset, byteLength).slice() };
}

function utf8(text) {
  return new TextEncoder().encode(text);
}

function decodeText(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new WireError("Malformed", "a text is not UTF-8");
  }
}

/** As much of a text as fits into so many bytes, cut between two characters. */
function cutText(text, most) {
  const bytes = new Uint8Array(most);
  return bytes.subarray(0, new TextEncoder().encodeInto(text, bytes).written);
}

// The configuration.

const SHORTEST = 10;
const LONGEST_INTERVAL = 86_400_000;
/** By so much of itself, at most, an interval is shortened. */
const JITTER = 0.1;
/** A wake that is late by less than this is no stall of our own. */
const PUNCTUAL = 10;
/** So often in a row, a stall of our own earns a silent server another probe. */
const MOST_FORGIVEN = 3;

/**
 * @typedef {object} Options
 * @property {string | URL} url `ws://` or `wss://`
 * @property {string} [device] 1 to 128 bytes of UTF-8 without control characters; a random name unless given
 * @property {string | ArrayBuffer | ArrayBufferView | ((ask: { refresh: boolean }) => any)} [credentials] or who gives
 *   them, asked before every attempt; may be async
 * @property {(opening: { resumed: boolean, inDoubt: number, greet: (message: any) => boolean }) => any} [onopen]
 * @property {number} [interval] between beats, 25000
 * @property {number} [idleLimit] after which a proxy on the way forgets an idle connection, 60000; the interval is below it
 * @property {number} [replyTimeout] 10000, or the interval if that is shorter
 * @property {number} [probes] of a suspect, 3
 * @property {number} [base] first step of the backoff, 500 or the cap if that is shorter; then it doubles
 * @property {number} [cap] longest wait, 30000
 * @property {number} [floor] shortest wait, 100 or the base if that is shorter
 * @property {number} [firstSpread] of the first retry, 1000 or up to the cap
 * @property {number} [stable] after this time a living connection forgets earlier failures, 30000
 * @property {number} [maxAttempts] unlimited unless given
 * @property {number} [connectTimeout] 10000
 * @property {number} [handshakeTimeout] 10000, for the greeting, and for the hook
 * @property {number} [credentialsTimeout] 10000
 * @property {number} [messageLimit] in bytes, either way, 1048576
 * @property {{ messages?: number, bytes?: number, overflow?: "reject" | "drop-oldest" | "block" }} [outbox] what may wait:
 *   1000, 8 MiB, reject
 * @property {number[]} [fatalCodes] close codes after which to give up, 1000, 1008 and 1010
 * @property {typeof WebSocket} [WebSocket] a class like the browser's
 */

/** The options with their defaults. @throws {TypeError | RangeError} that names the option */
export function configure(options) {
  const page = typeof document === "undefined" ? null : { window, document, navigator };
  const config = merge("", options, {
    url: undefined, device: `browser-${hex(randomBytes(6))}`, instance: randomBytes(8), credentials: "", onopen: null,
    interval: 25_000, idleLimit: 60_000, replyTimeout: null, probes: 3,
    base: null, cap: 30_000, floor: null, firstSpread: null, stable: 30_000, maxAttempts: Infinity,
    connectTimeout: 10_000, handshakeTimeout: 10_000, credentialsTimeout: 10_000,
    messageLimit: 1 << 20, outbox: {}, fatalCodes: [1000, 1008, 1010], WebSocket: globalThis.WebSocket,
    // For tests.
    page, random: Math.random, now: clock(), wall: options?.now ?? Date.now, defer,
    setTimeout: (...call) => globalThis.setTimeout(...call), clearTimeout: (id) => globalThis.clearTimeout(id),
  });
  config.outbox = merge("outbox.", config.outbox, { messages: 1000, bytes: 8 << 20, overflow: "reject" });

  const { url, device, credentials, onopen, WebSocket, fatalCodes, outbox } = config;
  check("url", url, isUrl(url), "ws://... or wss://..., without a fragment");
  check("device", device, typeof device === "string", "a string");
  const isName = utf8(device).length >= 1 && utf8(device).length <= 128 && !/\p{Cc}/u.test(device);
  check("device", device, isName, "1 to 128 bytes without control characters", RangeError);
  const isFunction = typeof credentials === "function";
  const isSecret = isFunction || isMessage(credentials);
  check("the type of credentials", typeof credentials, isSecret, "a string, bytes, or a function that gives them");
  check("onopen", onopen, onopen === null || typeof onopen === "function", "a function");
  check("WebSocket", WebSocket, typeof WebSocket === "function", "a class with the browser's interface");
  const areCodes = Array.isArray(fatalCodes) && fatalCodes.every((code) => Number.isInteger(code) && code >= 1000 && code < 5000);
  check("fatalCodes", fatalCodes, areCodes, "an array of close codes, 1000 to 4999");
  const overflows = ["reject", "drop-oldest", "block"];
  check("outbox.overflow", outbox.overflow, overflows.includes(outbox.overflow), overflows.join(", "));
  within(config, "interval", SHORTEST, LONGEST_INTERVAL);
  within(config, "idleLimit", 1, Infinity);
  config.replyTimeout ??= Math.min(10_000, config.interval);
  within(config, "replyTimeout", SHORTEST, config.interval, "the interval");
  within(config, "cap", 1, LONGEST_INTERVAL);
  config.base ??= Math.min(500, config.cap);
  within(config, "base", 1, config.cap, "the cap");
  config.floor ??= Math.min(100, config.base);
  within(config, "floor", 1, config.base, "base");
  config.firstSpread ??= Math.min(1000, config.cap - config.floor);
  within(config, "firstSpread", 0, config.cap - config.floor, "cap - floor");
  for (const name of ["connectTimeout", "handshakeTimeout", "credentialsTimeout", "stable"]) {
    within(config, name, 1, LONGEST_INTERVAL);
  }
  for (const [name, value, least, most] of [
    ["probes", config.probes, 0, 16], ["maxAttempts", config.maxAttempts, 1, Infinity],
    ["messageLimit", config.messageLimit, 1, LARGEST_MESSAGE],
    ["outbox.messages", outbox.messages, 1, Infinity], ["outbox.bytes", outbox.bytes, 1, Infinity],
  ]) {
    within({ [name]: value }, name, least, most);
    check(name, value, Number.isInteger(value) || value === Infinity, "a whole number", RangeError);
  }
  const { interval, idleLimit } = config;
  if (interval >= idleLimit) {
    throw new RangeError(`with an interval of ${interval} ms, a proxy on the way that forgets connections idle for ` +
      `${idleLimit} ms (nginx does, unless it is told otherwise) cuts the link between two beats; shorten the interval, ` +
      "or say by idleLimit what the idle limit is");
  }
  return {
    ...config,
    url: String(url),
    credentials: isFunction ? credentials : encodeMessage(credentials).bytes,
    // On the wire they are whole milliseconds.
    interval: Math.ceil(interval),
    replyTimeout: Math.ceil(config.replyTimeout),
    writeStall: config.replyTimeout,
  };
}

/** The defaults, and over them what is given. */
function merge(where, given, defaults) {
  const isObject = typeof given === "object" && given !== null;
  check(where ? "outbox" : "the configuration", given, isObject, where ? "an object" : "an object with at least url");
  const merged = { ...defaults };
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(defaults, name)) throw new TypeError(`there is no option ${where}${name}`);
    if (value !== undefined) merged[name] = value;
  }
  return merged;
}

function isUrl(url) {
  try {
    const { protocol, hash } = new URL(url);
    return /^wss?:$/.test(protocol) && !hash;
  } catch {
    return false;
  }
}

function within(config, name, least, most, whose = null) {
  const value = config[name];
  check(name, value, typeof value === "number", "a number");
  check(name, value, value >= least && value <= most, `${least} to ${most}${whose ? ` (${whose})` : ""}`, RangeError);
}

function check(name, value, holds, advice, Kind = TypeError) {
  if (holds) return;
  throw new Kind(`${name} is ${typeof value === "string" ? JSON.stringify(value) : String(value)}; give ${advice}`);
}

/**
 * A clock that never runs backwards and counts suspend: if the wall clock jumps ahead of the monotonic one, that much
 * time has passed.
 */
export function clock(monotonic = () => performance.now(), wall = () => Date.now()) {
  let [now, lastMonotonic, lastWall] = [0, monotonic(), wall()];
  return () => {
    const [passed, passedOnWall] = [monotonic() - lastMonotonic, wall() - lastWall];
    now += passedOnWall - passed > 1000 ? passedOnWall : passed;
    [lastMonotonic, lastWall] = [lastMonotonic + passed, lastWall + passedOnWall];
    return now;
  };
}

/** Runs `then` behind the events that wait already; unlike a timer, it is not held back in hidden tabs. */
function defer(then) {
  if (globalThis.setImmediate) return globalThis.setImmediate(then);
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    then();
  };
  port2.postMessage(null);
}

function randomBytes(count) {
  return crypto.getRandomValues(new Uint8Array(count));
}

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

/** The earliest of the moments that are not null. */
function earliest(...moments) {
  const set = moments.filter((moment) => moment !== null);
  return set.length > 0 ? Math.min(...set) : null;
}
