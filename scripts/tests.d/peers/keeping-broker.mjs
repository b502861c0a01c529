// A broker that writes down what it was told before it answers. README.md says what it does.

import { closeSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";

const { generate, parser } = createRequire(`${process.env.KEEPBEAT_NODE_MODULES}/`)("mqtt-packet");
const [folder, port] = process.argv.slice(2);
// So many messages are under way to a client, unless it takes fewer.
const WINDOW = 100;

// By client identifier: its subscriptions, what it published at QoS 2 and did not release, and what waits for it. The first
// of `waiting` has the number `first`; its packet identifier follows from its number.
let sessions = new Map();
const connections = new Map();
const outputs = new Set();
let unwritten = "";

const identifier = (number) => (number % 65535) + 1;

function session(client) {
  if (!sessions.has(client)) sessions.set(client, { subscriptions: {}, received: [], waiting: [], first: 0 });
  return sessions.get(client);
}

// All that changes a session. It is written down, and done again after a start.
const changes = {
  begin: (client) => void sessions.delete(client) ?? session(client),
  subscribe: (client, topic, qos) => (session(client).subscriptions[topic] = qos),
  unsubscribe: (client, topic) => delete session(client).subscriptions[topic],
  publish(client, topic, payload, qos, id) {
    const { received } = session(client);
    if (qos === 2) {
      if (received.includes(id)) return;
      received.push(id);
    }
    for (const other of sessions.values()) {
      const granted = Math.min(qos, other.subscriptions[topic] ?? 0);
      if (granted > 0) other.waiting.push({ topic, payload, qos: granted, released: false });
    }
  },
  release(client, id) {
    const { received } = session(client);
    if (received.includes(id)) received.splice(received.indexOf(id), 1);
  },
  has(client, id) {
    const message = of(client, id);
    if (message?.qos === 2) message.released = true;
  },
  settled(client, id) {
    const { waiting } = session(client);
    const message = of(client, id);
    if (message && (message.qos === 1 || message.released)) message.settled = true;
    while (waiting[0]?.settled) {
      waiting.shift();
      session(client).first += 1;
    }
  },
};

function of(client, id) {
  const { waiting, first } = session(client);
  return waiting.slice(0, WINDOW).find((_, place) => identifier(first + place) === id);
}

function change(...what) {
  unwritten += `${JSON.stringify(what)}\n`;
  const [name, ...parts] = what;
  changes[name](...parts);
}

/** Says what there is to be said when all before is written, to the others, too. */
function flush() {
  for (const connection of connections.values()) deliver(connection);
  if (unwritten) writeSync(log, unwritten);
  unwritten = "";
  for (const connection of outputs) {
    connection.socket.write(Buffer.concat(connection.output.splice(0)));
  }
  outputs.clear();
}

function say(connection, packet) {
  connection.output.push(generate(packet, { protocolVersion: connection.version }));
  outputs.add(connection);
}

/** Sends what waits, as much as may be under way. `sent` counts messages of all connections, like `first`. */
function deliver(connection) {
  const { waiting, first } = session(connection.client);
  for (; connection.sent < first + Math.min(connection.window, waiting.length); connection.sent += 1) {
    const { topic, payload, qos, released, settled } = waiting[connection.sent - first];
    const messageId = identifier(connection.sent);
    if (settled) continue;
    say(connection, released
      ? { cmd: "pubrel", messageId }
      : { cmd: "publish", topic, payload, qos, messageId, dup: connection.sent < connection.again, retain: false });
  }
}

const handlers = {
  connect(connection, { clientId, clean, protocolVersion, properties }) {
    const present = !clean && sessions.has(clientId);
    if (!present) change("begin", clientId);
    // 0x8E: session taken over.
    const before = connections.get(clientId);
    before?.socket.end(before.version === 5 ? generate({ cmd: "disconnect", reasonCode: 0x8e }, { protocolVersion: 5 }) : undefined);
    const { first, waiting } = session(clientId);
    const window = Math.min(WINDOW, properties?.receiveMaximum ?? WINDOW);
    const again = first + Math.min(window, waiting.length);
    Object.assign(connection, { client: clientId, version: protocolVersion, window, sent: first, again });
    say(connection, { cmd: "connack", sessionPresent: present, returnCode: 0, reasonCode: 0 });
    connections.set(clientId, connection);
  },
  subscribe(connection, { messageId, subscriptions }) {
    for (const { topic, qos } of subscriptions) change("subscribe", connection.client, topic, qos);
    say(connection, { cmd: "suback", messageId, granted: subscriptions.map(({ qos }) => qos) });
  },
  publish(connection, { topic, payload, qos, messageId }) {
    change("publish", connection.client, topic, payload.toString(), qos, messageId);
    if (qos > 0) say(connection, { cmd: qos === 1 ? "puback" : "pubrec", messageId, reasonCode: 0 });
  },
  pubrel(connection, { messageId }) {
    change("release", connection.client, messageId);
    say(connection, { cmd: "pubcomp", messageId, reasonCode: 0 });
  },
  pubrec(connection, { messageId }) {
    change("has", connection.client, messageId);
    say(connection, { cmd: "pubrel", messageId, reasonCode: 0 });
  },
  puback: (connection, { messageId }) => change("settled", connection.client, messageId),
  pubcomp: (connection, { messageId }) => change("settled", connection.client, messageId),
  pingreq: (connection) => say(connection, { cmd: "pingresp" }),
  disconnect: (connection) => connection.socket.end(),
};

/** What was written down; what a kill cut short was not answered. */
function restore(path) {
  let text;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return;
  }
  for (const line of text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter(Boolean)) {
    const [name, ...parts] = JSON.parse(line);
    if (name === "all") sessions = new Map(parts[0]);
    else changes[name](...parts);
  }
}

function begin(path) {
  const next = openSync(`${path}.new`, "w");
  writeSync(next, `${JSON.stringify(["all", [...sessions]])}\n`);
  closeSync(next);
  renameSync(`${path}.new`, path);
  return openSync(path, "a");
}

restore(`${folder}/log`);
const log = begin(`${folder}/log`);
createServer((socket) => {
  const packets = parser();
  const connection = { socket, output: [] };
  const forget = () => {
    outputs.delete(connection);
    if (connections.get(connection.client) === connection) connections.delete(connection.client);
  };
  packets.on("packet", (packet) => handlers[packet.cmd](connection, packet));
  packets.on("error", (error) => socket.destroy(error));
  socket.setNoDelay();
  socket.on("data", (chunk) => {
    packets.parse(chunk);
    flush();
  });
  socket.on("error", forget).on("close", forget);
}).listen(port, "127.0.0.1");
