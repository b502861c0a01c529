// A client on npm `ws`. README.md says what it does.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { WebSocket } = createRequire(`${process.env.KEEPBEAT_NODE_MODULES}/`)("ws");
const [url, ...options] = process.argv.slice(2);
const all = (name) => options.filter((option) => option.startsWith(`${name}=`)).map((option) => option.slice(name.length + 1));
const [origin] = all("origin");
const [every] = all("ping");
const socket = new WebSocket(url, all("protocol"), {
  origin,
  maxPayload: 16 << 20,
  perMessageDeflate: options.includes("deflate"),
});
const BIG = 5_000_000;

const obey = {
  text: (text) => socket.send(text),
  big: () => {
    socket.send("x".repeat(BIG));
    socket.send(Buffer.alloc(BIG, 0xff));
  },
  pongs: () => {
    for (let number = 0; number < 50; number++) socket.pong(`unasked ${number}`);
  },
  close: (code) => socket.close(Number(code)),
};

socket.on("open", () => {
  console.log(`open ${socket.protocol || "-"} ${socket.extensions || "-"}`);
  if (every) setInterval(() => socket.ping("mine"), Number(every) * 1000);
  createInterface({ input: process.stdin }).on("line", (line) => {
    const [name] = line.split(" ", 1);
    obey[name](line.slice(name.length + 1));
  });
});
socket.on("pong", (data) => data.toString() === "mine" && console.log("pong"));
socket.on("message", (data, binary) => {
  if (data.length < BIG) console.log(`text ${data}`);
  else if (data.equals(Buffer.alloc(BIG, binary ? 0xff : "x"))) console.log(binary ? "big binary" : "big text");
});
socket.on("unexpected-response", (_, response) => {
  console.log(`refused ${response.statusCode} ${response.headers["retry-after"] ?? "-"}`);
  process.exit(0);
});
socket.on("error", (error) => console.log(`error ${error.message}`));
socket.on("close", (code) => {
  console.log(`closed ${code}`);
  process.exit(0);
});
