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
const [keepbeat, ...serve] = process.argv.slice(2);
/** Generous: a wait ends with its event, and this only bounds a failure. */
const PATIENCE = 60_000;
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
    await page.waitForFunction(() => keepbeatPage.link.state === "waiting");
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
    await page.waitForFunction(() => keepbeatPage.link.suspect);
    await page.waitForFunction((from) => keepbeatPage.events.slice(from).includes("down"), before);
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
    await page.waitForFunction((from) => keepbeatPage.events.slice(from).includes("down"), before);
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
      await page.waitForFunction((ups) => keepbeatPage.counts.reconnects > ups && keepbeatPage.link.state === "up", ups);
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
    await paused;
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
      await busy.waitForFunction((turn) => keepbeatPage.link.beats.answered >= turn, turn);
    }
    assert.equal((await busy.evaluate(() => keepbeatPage.events)).includes("down"), false);
    await busy.close();
    await up(page);
  },

  async "without a network no attempts are spent, and with it the link is back at once"(world) {
    const { page, relay } = world;
    await page.context().setOffline(true);
    await page.waitForFunction(() => keepbeatPage.link.offline && /offline/.test(document.getElementById("next").textContent));
    relay.cut();
    await page.waitForFunction(() => keepbeatPage.link.state === "waiting");
    await send(world, 5);
    assert.ok(await page.evaluate(() => keepbeatPage.link.retryAt - Date.now() > 500), "it waits for about the cap");
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
    const world = { page, server, relay, errors, sent: 0 };
    await page.goto(`http://127.0.0.1:${relay.port}/?${TERMS}`);
    await page.evaluate(() => (window.neverReloaded = true));
    for (const [name, test] of Object.entries(tests)) {
      console.log(`61-browser: ${name}`);
      await test(world).catch((error) => fail(world, name, error));
    }
    assert.equal(await page.evaluate(() => window.neverReloaded), true, "the page was reloaded");
    assert.deepEqual(errors, [], "errors of the page");
    console.log(`61-browser: all ${Object.keys(tests).length} passed`);
  } finally {
    await context?.close();
    relay.end();
    await server.kill();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function fail({ page, errors }, name, error) {
  const seen = await page.evaluate(() => ({
    state: keepbeatPage.link.state, counts: keepbeatPage.counts, events: keepbeatPage.events.slice(-40),
    log: [...document.querySelectorAll("#log li")].slice(0, 20).map((line) => line.textContent),
  })).catch(String);
  throw new Error(`${name}: ${error.message}\n${errors.join("\n")}${JSON.stringify(seen, null, 1)}`, { cause: error });
}

async function up(page) {
  await page.waitForFunction(() => keepbeatPage.link.state === "up");
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
  await page.waitForFunction((sent) => keepbeatPage.counts.echoed >= sent && keepbeatPage.link.unacknowledged === 0, sent);
  const { counts } = await page.evaluate(() => ({ counts: keepbeatPage.counts }));
  const { acknowledged, echoed, unexpected } = counts;
  assert.deepEqual({ sent: counts.sent, acknowledged, echoed, unexpected }, { sent, acknowledged: sent, echoed: sent, unexpected: 0 });
}

/** `keepbeat serve --page`, always on the same port. */
class KeepbeatServer {
  async start() {
    this.port ??= await freePort();
    const address = serve.length > 0 ? serve : ["serve", `ws://127.0.0.1:${this.port}`, "--page"];
    this.process = spawn(keepbeat, address.map((part) => part.replace("PORT", this.port)), { stdio: ["ignore", "pipe", "inherit"] });
    // The first line says that it listens.
    await once(this.process.stdout, "data");
    this.process.stdout.resume();
  }

  signal(name) {
    this.process.kill(name);
  }

  async kill() {
    if (!this.process || this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, "exit");
    this.process.kill("SIGKILL");
    await gone;
  }
}

/** Forwards bytes, unless it is a hole: then nothing moves, and nobody is told. */
class Relay {
  pairs = new Set();
  hole = false;

  async listen(port) {
    this.listener = net.createServer((inside) => this.join(inside, net.connect(port, "127.0.0.1")));
    this.listener.listen(0, "127.0.0.1");
    await once(this.listener, "listening");
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
