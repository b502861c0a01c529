// A server on npm `ws`. README.md says what it does.

import { createServer } from "node:http";
import { createRequire } from "node:module";

const { WebSocketServer } = createRequire(`${process.env.KEEPBEAT_NODE_MODULES}/`)("ws");
const [port, ...options] = process.argv.slice(2);
const sockets = new WebSocketServer({
  noServer: true,
  maxPayload: 16 << 20,
  perMessageDeflate: options.includes("deflate"),
  handleProtocols: (offered) => (offered.has("chat") ? "chat" : false),
});
const seen = new Set();
const listener = createServer();

listener.on("upgrade", (request, stream, head) => {
  console.log(`request ${request.url} ${request.headers.origin ?? "-"}`);
  const [, what, code] = request.url.split("/");
  const first = !seen.has(request.url);
  seen.add(request.url);
  if (what === "status" && first) {
    const more = "Retry-After: 1\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n";
    stream.end(`HTTP/1.1 ${code} No\r\n${more}\r\n`);
    return;
  }
  sockets.handleUpgrade(request, stream, head, (socket) => {
    console.log(`open ${request.url} ${socket.protocol || "-"} ${socket.extensions || "-"}`);
    socket.on("error", (error) => console.log(`error ${error.message}`));
    socket.on("message", (data, binary) => {
      if (first && what === "vanish") socket.terminate();
      else if (first && what === "close") close(socket, Number(code));
      else socket.send(data, { binary });
    });
    if (what === "noisy") beNoisy(socket);
  });
});

function close(socket, code) {
  if (code === 1005) socket.close();
  else socket.close(code, "as you wish");
}

function beNoisy(socket) {
  for (let number = 0; number < 50; number++) socket.pong(`unasked ${number}`);
  socket.on("pong", (data) => data.toString() === "mine" && console.log("pong"));
  const timer = setInterval(() => socket.ping("mine"), 100);
  socket.on("close", () => clearInterval(timer));
}

listener.listen(Number(port), "127.0.0.1");
