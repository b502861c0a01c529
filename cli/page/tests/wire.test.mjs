// Frames against docs/protocol-vectors.txt, every line of it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Type, WireError, decodeFrame, encodeFrames } from "../keepbeat.js";
import { readHello } from "./world.mjs";

const LIMIT = 1048576;
const vectors = readFileSync(new URL("../../../docs/protocol-vectors.txt", import.meta.url), "utf8")
  .split("\n")
  .filter((line) => line && !line.startsWith("#"))
  .map((line) => line.split(" | ").map((part) => part.trim()))
  .map(([name, phase, verdict, bytes, meaning]) => ({ name, phase, verdict, bytes: unhex(bytes), meaning }));

function unhex(text) {
  return Uint8Array.from(text.replace(/\|$/, "").trim().match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function hex(bytes) {
  return bytes.length === 0 ? "none" : Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const decode = (bytes, established) => {
  const decoded = decodeFrame(bytes, 0, established, LIMIT);
  return decoded && decoded.frame.type === Type.HELLO ? readHello(bytes) : decoded;
};

/** A frame in the words of the vectors. */
function words(frame) {
  const name = Object.keys(Type).find((name) => Type[name] === frame.type) ?? "unknown";
  const yes = (flag) => (flag ? "yes" : "no");
  switch (name) {
    case "HELLO":
      return `HELLO version=${frame.version} device="${frame.device}" instance=${hex(frame.instance)} attempt=${frame.attempt} ` +
        `interval=${frame.interval} reply=${frame.replyTimeout} limit=${frame.messageLimit} ` +
        `token=${frame.token ? hex(frame.token) : "none"} received=${frame.received} credentials=${hex(frame.credentials)}`;
    case "WELCOME":
      return `WELCOME version=${frame.version} token=${hex(frame.token)} resumed=${yes(frame.resumed)} interval=${frame.interval} ` +
        `reply=${frame.replyTimeout} limit=${frame.messageLimit} received=${frame.received}`;
    case "REFUSE":
    case "GOODBYE":
      return `${name} reason=${frame.reason} after=${frame.retryAfter} spread=${frame.spread} detail="${frame.detail}"`;
    case "DATA":
      return `DATA seq=${frame.seq} payload=${hex(frame.message)}`;
    case "TEXT":
      return `TEXT seq=${frame.seq} text="${frame.message}"`;
    case "unknown":
      return "unknown";
    default:
      return `${name} seq=${frame.seq}`;
  }
}

const encodable = (frame) =>
  typeof frame.message === "string" ? { ...frame, message: new TextEncoder().encode(frame.message) } : frame;

test("every vector reaches its verdict, whole and cut after every byte", () => {
  assert.ok(vectors.length > 110, `only ${vectors.length} vectors`);
  for (const { name, phase, verdict, bytes, meaning } of vectors) {
    const established = phase === "established";
    const [kind, error] = verdict.split(" ");
    const whole = () => decode(bytes, established);
    if (kind === "error") {
      assert.throws(whole, (thrown) => thrown instanceof WireError && thrown.kind === error, name);
    } else if (kind === "partial") {
      assert.equal(whole(), null, name);
    } else {
      const { frame, next } = whole();
      assert.equal(words(frame), meaning, name);
      assert.equal(next, bytes.length, name);
      if (kind === "ok") assert.deepEqual(encodeFrames([encodable(frame)]), bytes, name);
      for (let cut = 0; cut < bytes.length; cut += 1) {
        assert.equal(decode(bytes.subarray(0, cut), established), null, `${name}, cut after ${cut} bytes`);
      }
    }
  }
});

test("a text has its own type, and is UTF-8 with its byte order mark kept", () => {
  const bytes = encodeFrames([{ type: 0x22, seq: 1, message: new TextEncoder().encode("\ufeffgrüezi") }]);
  assert.equal(decodeFrame(bytes, 0, true, LIMIT).frame.message, "\ufeffgrüezi");
  const bad = Uint8Array.of(0x22, 2, 1, 0xff);
  assert.throws(() => decodeFrame(bad, 0, true, LIMIT), { kind: "Malformed" });
  assert.throws(() => decodeFrame(bytes, 0, false, LIMIT), { kind: "Unexpected" });
});

test("frames that stand behind each other are found one by one", () => {
  const bytes = encodeFrames([{ type: Type.ECHO, seq: 300 }, { type: Type.ACK, seq: 2 ** 53 - 1 }]);
  const first = decodeFrame(bytes, 0, true, LIMIT);
  const second = decodeFrame(bytes, first.next, true, LIMIT);
  assert.deepEqual([first.frame.seq, second.frame.seq, second.next], [300, 2 ** 53 - 1, bytes.length]);
});

test("a detail is cut between two characters", () => {
  const bytes = encodeFrames([{ type: Type.GOODBYE, reason: 0, detail: `x${"é".repeat(80)}` }]);
  assert.equal(decodeFrame(bytes, 0, true, LIMIT).frame.detail, `x${"é".repeat(59)}`);
});
