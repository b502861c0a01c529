// The page in Chromium, against `keepbeat serve --page`: node browser.mjs KEEPBEAT. Run by scripts/tests.d/61-browser.
//
// A relay stands between the browser and the server, so that the network can be still while both are well.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { load } from "./modules.mjs";

const { chromium } = load("playwright-core");
const [, , keepbeat] = process.argv;
/** Generous: a wait ends with its event, and this only bounds a failure. A test may do several such waits. */
const PATIENCE = 60_000;
const PATIENCE_WITH_A_TEST = 3 * PATIENCE;
const TERMS = "interval=500&reply=500&cap=1000&connect=2000&handshake=2000";
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

const tests = {
  async "the page loads, the link comes up, and lines come back"(world) {
    const { page, errors } = world;
    await up(page);
    await page.getByLabel("A line for the server to echo").fill("grüezi \u{1F44B}");
    await page.getByRole("button", { name: "Send" }).click();
    await echoed(world, 1);
    await page.getByRole("listitem").filter({ hasText: "echoed grüezi" }).waitFor();
    await page.getByText(/sent, [1-9]\d* answered/).waitFor();
    assert.deepEqual(errors, []);
  },

  async "a server that is killed and started again costs no message"(world) {
    const { page, server } = world;
    await send(world, 20);
    await echoed(world);
    await server.kill();
    await until(page, "the link to wait", () => keepbeatPage.link.state === "waiting");
    await send(world, 20);
    await server.start();
    await up(page);
    await echoed(world);
  },

  async "a black hole of 10 s is suspected, noticed and survived"(world) {
    const { page, relay } = world;
    const before = await page.evaluate(() => keepbeatPage.events.length);
    relay.open();
    const closed = new Promise((resolve) => setTimeout(resolve, 10_000)).then(() => relay.close());
    await send(world, 5);
    await until(page, "the suspicion", (from) => keepbeatPage.events.slice(from).includes("suspect"), before);
    await until(page, "the verdict", (from) => keepbeatPage.events.slice(from).includes("down"), before);
    await send(world, 5);
    await closed;
    await up(page);
    await echoed(world);
    const events = await page.evaluate((from) => keepbeatPage.events.slice(from), before);
    const order = ["suspect", "down", "up"].map((name) => events.indexOf(name));
    assert.ok(order[0] >= 0 && order[0] < order[1] && order[1] < order[2], `${events}`);
  },

  async "a server that is stopped is noticed, and nothing is missing when it goes on"(world) {
    const { page, server } = world;
    const before = await page.evaluate(() => keepbeatPage.events.length);
    server.signal("SIGSTOP");
    await send(world, 5);
    await until(page, "the verdict", (from) => keepbeatPage.events.slice(from).includes("down"), before);
    await send(world, 5);
    server.signal("SIGCONT");
    await up(page);
    await echoed(world);
  },

  async "many messages in flight survive many cuts, in one session"(world) {
    const { page, relay } = world;
    const sessions = await page.getByText("new session").count();
    for (let turn = 0; turn < 10; turn += 1) {
      await send(world, 40);
      const ups = await page.evaluate(() => keepbeatPage.counts.reconnects);
      relay.cut();
      await until(page, `the link to be back after cut ${turn}`,
        (ups) => keepbeatPage.counts.reconnects > ups && keepbeatPage.link.state === "up", ups);
    }
    await echoed(world);
    assert.equal(await page.getByText("new session").count(), sessions);
  },

  async "a page that was frozen takes up its session when it wakes"(world) {
    const { page } = world;
    const devtools = await page.context().newCDPSession(page);
    await send(world, 5);
    await devtools.send("Debugger.enable");
    const paused = once(devtools, "Debugger.paused");
    await devtools.send("Debugger.pause");
    await within(paused, "the page to freeze");
    await new Promise((resolve) => setTimeout(resolve, 3000));
    await devtools.send("Debugger.disable");
    await send(world, 5);
    await echoed(world);
    // The server, which heard nothing for so long, has hung up.
    assert.match(await page.locator("#log").textContent(), /Silent/);
  },

  async "a page that was away blames nobody for that time"({ page, relay }) {
    const busy = await page.context().newPage();
    await busy.goto(`http://127.0.0.1:${relay.port}/?interval=4000&reply=500`);
    await up(busy);
    for (let turn = 1; turn <= 3; turn += 1) {
      // A probe has left. Then nothing runs in here until long after its deadline, and its answer comes even later.
      relay.open();
      await busy.evaluate(async () => {
        const { sent } = keepbeatPage.link.beats;
        document.dispatchEvent(new Event("visibilitychange"));
        while (keepbeatPage.link.beats.sent === sent) await new Promise((resolve) => setTimeout(resolve, 10));
        const until = performance.now() + 2000;
        while (performance.now() < until);
      });
      relay.close();
      await until(busy, `answer ${turn}`, (turn) => keepbeatPage.link.beats.answered >= turn, turn);
    }
    assert.equal((await busy.evaluate(() => keepbeatPage.events)).includes("down"), false);
    await busy.close();
    await up(page);
  },

  async "without a network no attempts are spent, and with it the link is back at once"(world) {
    const { page, relay } = world;
    await page.context().setOffline(true);
    await until(page, "the page to say that it is offline",
      () => keepbeatPage.link.offline && /offline/.test(document.getElementById("next").textContent));
    await page.evaluate(() => {
      const before = Date.now();
      const told = ({ detail }) => (window.firstWait = detail.retryAt - before);
      keepbeatPage.link.addEventListener("down", told, { once: true });
    });
    relay.cut();
    await until(page, "the link to go down", () => window.firstWait !== undefined);
    const wait = await page.evaluate(() => window.firstWait);
    // It was lost after that moment, so that a busy machine only makes it more.
    assert.ok(wait >= 990, `it waits for the cap of 1000 ms, not for ${wait}`);
    await send(world, 5);
    await page.context().setOffline(false);
    await up(page);
    await echoed(world);
  },

  async "close and open, and a retry by hand"(world) {
    const { page, server } = world;
    await page.getByRole("button", { name: "Close" }).click();
    await page.getByRole("status").filter({ hasText: "closed" }).waitFor();
    await page.getByRole("button", { name: "Open" }).click();
    await up(page);
    await server.kill();
    await page.getByRole("button", { name: "Retry now", disabled: false }).waitFor();
    await server.start();
    await page.evaluate(() => keepbeatPage.link.retryNow());
    await up(page);
    await send(world, 3);
    await echoed(world);
  },

  async "the page counts what came, what never came, and what came again"({ page, relay }) {
    const other = await page.context().newPage();
    await other.goto(`http://127.0.0.1:${relay.port}/?${TERMS}`);
    await up(other);
    relay.open();
    const counts = await other.evaluate(async () => {
      const seen = [];
      const hear = (detail) => {
        keepbeatPage.link.dispatchEvent(new CustomEvent("message", { detail }));
        seen.push({ ...keepbeatPage.counts });
      };
      for (const line of ["first", "second", "third"]) await keepbeatPage.send(line);
      hear("first");
      hear("third");
      hear("third");
      return seen.map(({ accepted, echoed, lost, unexpected }) => [accepted, echoed, lost, unexpected]);
    });
    assert.deepEqual(counts, [[3, 1, 0, 0], [3, 2, 1, 0], [3, 2, 1, 1]]);
    relay.close();
    // Of the true echoes none is expected any more.
    await until(other, "three echoes that are not expected", () => keepbeatPage.counts.unexpected === 4);
    await other.evaluate(() => keepbeatPage.send("fourth"));
    await until(other, "the next one to be expected again",
      () => keepbeatPage.counts.echoed === 3 && keepbeatPage.counts.lost === 1);
    await other.getByRole("listitem").filter({ hasText: "no echo second" }).waitFor();
    await other.close();
    await up(page);
  },

  async "a page below a path connects there, with credentials as they are written, and counts what is dropped"({ page }) {
    const server = new KeepbeatServer();
    const other = await page.context().newPage();
    try {
      await server.start("/a/chat", "--token", "a+b c%", "--max-message", "1KiB");
      await other.goto(`http://127.0.0.1:${server.port}/a/chat?${TERMS}#credentials=a+b%20c%25`);
      await up(other);
      await other.evaluate(async () => {
        await keepbeatPage.send("x".repeat(2000));
        await keepbeatPage.send("short");
      });
      await until(other, "the echo", () => keepbeatPage.counts.echoed === 1);
      const { accepted, acknowledged, dropped, lost, unexpected } = await other.evaluate(() => keepbeatPage.counts);
      assert.deepEqual([accepted, acknowledged, dropped, lost, unexpected], [2, 1, 1, 0, 0]);
    } finally {
      await other.close();
      await server.kill();
    }
  },

  async "a page of this server is let in, and a page of another one is not"({ page, relay, server }) {
    const other = await page.context().newPage();
    // The relay's port makes it another origin. This document has no policy of its own that would stop it.
    await other.goto(`http://127.0.0.1:${relay.port}/page.css`);
    const connect = (port) => other.evaluate((port) => new Promise((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/`, ["keepbeat.1"]);
      socket.onopen = () => resolve("open");
      socket.onclose = ({ code }) => resolve(code);
    }), port);
    assert.equal(await within(connect(relay.port), "its own server's answer"), "open");
    assert.equal(await within(connect(server.port), "the other server's answer"), 1006);
    await other.close();
  },
};

async function main() {
  const folder = await mkdtemp(join(tmpdir(), "keepbeat-browser-"));
  const server = new KeepbeatServer();
  const relay = new Relay();
  let context = null;
  try {
    await server.start();
    await relay.listen(server.port);
    context = await chromium.launchPersistentContext(folder, { executablePath: process.env.KEEPBEAT_CHROMIUM, headless: true, args: FLAGS });
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    const errors = [];
    page.on("pageerror", (error) => errors.push(`${error}`));
    page.on("console", (message) => /Content.Security.Policy/.test(message.text()) && errors.push(message.text()));
    const world = { page, server, relay, errors, sent: 0 };
    await page.goto(`http://127.0.0.1:${relay.port}/?${TERMS}`);
    await page.evaluate(() => (window.neverReloaded = true));
    for (const [name, test] of Object.entries(tests)) {
      console.log(`61-browser: ${name}`);
      const ended = within(test(world), "the end of this test", PATIENCE_WITH_A_TEST);
      await ended.catch((error) => fail(world, name, error));
    }
    assert.equal(await page.evaluate(() => window.neverReloaded), true, "the page was reloaded");
    assert.deepEqual(errors, [], "errors of the page");
    console.log(`61-browser: all ${Object.keys(tests).length} passed`);
  } finally {
    await within(context?.close(), "the browser to close");
    relay.end();
    await server.kill();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function fail({ page, errors }, name, error) {
  const looked = page.evaluate(() => ({
    state: keepbeatPage.link.state, counts: keepbeatPage.counts, events: keepbeatPage.events.slice(-40),
    log: [...document.querySelectorAll("#log li")].slice(0, 20).map((line) => line.textContent),
  }));
  const seen = await within(looked, "what the page shows").catch(String);
  throw new Error(`${name}: ${error.message}\n${errors.join("\n")}${JSON.stringify(seen, null, 1)}`, { cause: error });
}

/** What this promise brings, or a failure that says what was waited for. */
function within(promise, what, patience = PATIENCE) {
  let alarm;
  const late = new Promise((_, reject) => {
    alarm = setTimeout(() => reject(new Error(`waited ${patience / 1000} s for ${what}`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(alarm));
}

/** Waits until something holds in the page. */
function until(page, what, holds, given) {
  return within(page.waitForFunction(holds, given, { timeout: 0 }), what);
}

async function up(page) {
  await until(page, "the link to be up", () => keepbeatPage.link.state === "up");
  await page.getByRole("status").filter({ hasText: /^up/ }).waitFor();
}

/** So many lines more, without waiting for anything but their acceptance. */
async function send(world, count) {
  await world.page.evaluate(async ([from, to]) => {
    for (let number = from; number < to; number += 1) await keepbeatPage.send(`line ${number}`);
  }, [world.sent, world.sent + count]);
  world.sent += count;
}

/** Waits until everything has come back, and proves that it came once. */
async function echoed(world, more = 0) {
  world.sent += more;
  const { page, sent } = world;
  await until(page, `${sent} echoes`,
    (sent) => keepbeatPage.counts.echoed >= sent && keepbeatPage.link.unacknowledged === 0, sent);
  const { accepted, acknowledged, dropped, echoed, lost, unexpected } = await page.evaluate(() => keepbeatPage.counts);
  assert.deepEqual([accepted, acknowledged, dropped, echoed, lost, unexpected], [sent, sent, 0, sent, 0, 0]);
}

/** `keepbeat serve --page`, always on the same port. */
class KeepbeatServer {
  async start(path = "", ...options) {
    this.port ??= await freePort();
    const line = ["serve", `ws://127.0.0.1:${this.port}${path}`, "--page", ...options];
    this.process = spawn(keepbeat, line, { stdio: ["ignore", "pipe", "inherit"] });
    const gone = once(this.process, "exit").then(([code]) => {
      throw new Error(`keepbeat ${line.join(" ")} ended with ${code} before it listened`);
    });
    // The first line says that it listens.
    await within(Promise.race([once(this.process.stdout, "data"), gone]), "the server to listen");
    gone.catch(() => {});
    this.process.stdout.resume();
  }

  signal(name) {
    this.process.kill(name);
  }

  async kill() {
    if (!this.process || this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, "exit");
    this.process.kill("SIGKILL");
    await within(gone, "the server to end");
  }
}

/** Forwards bytes, unless it is a hole: then nothing moves, and nobody is told. */
class Relay {
  pairs = new Set();
  hole = false;

  async listen(port) {
    this.listener = net.createServer((inside) => this.join(inside, net.connect(port, "127.0.0.1")));
    this.listener.listen(0, "127.0.0.1");
    await within(once(this.listener, "listening"), "the relay to listen");
    this.port = this.listener.address().port;
  }

  join(...pair) {
    this.pairs.add(pair);
    pair.forEach((one, index) => {
      const other = pair[1 - index];
      one.setNoDelay(true);
      one.on("data", (bytes) => other.write(bytes));
      one.on("end", () => other.end());
      one.on("error", () => {});
      one.on("close", () => {
        this.pairs.delete(pair);
        other.destroy();
      });
      if (this.hole) one.pause();
    });
  }

  open() {
    this.hole = true;
    for (const pair of this.pairs) for (const one of pair) one.pause();
  }

  close() {
    this.hole = false;
    for (const pair of this.pairs) for (const one of pair) one.resume();
  }

  cut() {
    for (const pair of this.pairs) for (const one of pair) one.resetAndDestroy();
  }

  end() {
    this.listener?.close();
    this.cut();
  }
}

async function freePort() {
  const probe = net.createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

await main();
