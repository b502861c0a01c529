// The broker aedes, with what it keeps in LevelDB. README.md says what it does.

import { readFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { pathToFileURL } from "node:url";

const modules = createRequire(`${process.env.KEEPBEAT_NODE_MODULES}/`);
const { Aedes } = await import(pathToFileURL(modules.resolve("aedes")));
const { ClassicLevel } = modules("classic-level");
const { WebSocketServer, createWebSocketStream } = modules("ws");

const [folder, port, websocketPort, tlsPort, certificate, key] = process.argv.slice(2);
const database = new ClassicLevel(folder);
await database.open();
const broker = await Aedes.createBroker({
  // It reads what waits in the order of its names and of numbers that begin anew with each start.
  id: `aedes-${String(Date.now()).padStart(16, "0")}`,
  persistence: modules("aedes-persistence-level")(database),
  authenticate: (_client, user, password, done) => done(null, user === undefined || (user === "pump" && String(password) === "right")),
});

if (certificate) {
  createTlsServer({ cert: readFileSync(certificate), key: readFileSync(key) }, broker.handle).listen(tlsPort, "127.0.0.1");
}
const http = createHttpServer().listen(websocketPort, "127.0.0.1");
new WebSocketServer({ server: http, handleProtocols: (offered) => offered.has("mqtt") && "mqtt" })
  .on("connection", (socket, request) => broker.handle(createWebSocketStream(socket), request));
createServer(broker.handle).listen(port, "127.0.0.1");

process.on("SIGTERM", () => broker.close(() => database.close().then(() => process.exit(0))));
