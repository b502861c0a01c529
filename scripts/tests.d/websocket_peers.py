"""The WebSocket peers of `62-websocket-peers`: programs of the folder `peers`, and nginx in between.

It is not executable, so `scripts/test` does not run it.
"""

import os
import re
import subprocess
import sys

from harness import ENVIRONMENT, FOLDER, Failed, Keepbeat, Peer, build, check, eventually, file, free_port, needed, node_modules

WEBSOCKETS = "websockets==17.4"
WS, PYTHON = "ws", "websockets"
HERE = os.path.dirname(os.path.abspath(__file__))
FAST = ("--backoff", "20ms..100ms", "--linger", "0s")
# The first beat is far away, so that what is found out before was told.
CALM = ("--interval", "50s")
# Deaths are found out within 1.5 s.
QUICK = ("--interval", "500ms", "--reply-timeout", "500ms")


def install():
    """What the peers are built on, outside of the tree: npm `ws`, the same as for the page, and `websockets`."""
    os.environ["PATH"] += ":/usr/sbin"
    ENVIRONMENT["PATH"] = os.environ["PATH"]
    needed("nginx", "openssl")
    found = node_modules("cli/page")
    target = os.path.join(os.path.dirname(found), "websockets")
    mark = os.path.join(target, "installed")
    if not os.path.exists(mark) or open(mark, encoding="ascii").read() != WEBSOCKETS:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--disable-pip-version-check",
                        "--root-user-action=ignore", "--cache-dir", os.path.join(target, "pip-cache"), "--target", target,
                        WEBSOCKETS], check=True, stdin=subprocess.DEVNULL)
        with open(mark, "w", encoding="ascii") as out:
            out.write(WEBSOCKETS)
    ENVIRONMENT["PYTHONPATH"] = target


def program(kind, role):
    """The command of a peer of this kind."""
    name = {WS: f"ws-{role}.mjs", PYTHON: f"websockets_{role}.py"}[kind]
    return {WS: "node", PYTHON: sys.executable}[kind], os.path.join(HERE, "peers", name)


class Talker(Peer):
    """Somebody else's program that says a line for what happens."""

    def __init__(self, *command, **options):
        super().__init__(*command, **options)
        self.read = 0

    def until(self, *expected):
        """The next line that matches these expressions, word by word, with what else stands on it."""
        pattern = re.compile(" ".join(expected) + "( .*)?")
        found = []

        def comes():
            ended = self.process.poll() is not None
            lines = self.said().splitlines(keepends=True)
            for number, line in enumerate(lines[self.read:], self.read + 1):
                if line.endswith("\n") and pattern.fullmatch(line.rstrip("\n")):
                    self.read = number
                    found.append(line.split())
                    return True
            if ended:
                raise Failed(f"{self.name}: ended before {' '.join(expected)}")
            return False

        eventually(comes, f"{self.name} says {' '.join(expected)}")
        return found[0]

    def count(self, line, times):
        """It says this line so often, in all."""
        eventually(lambda: self.said().splitlines().count(line) >= times, f"{self.name} says {line} {times} times")


class Server(Talker):
    """A peer as server; `kill` and `start` are on the same port."""

    def __init__(self, kind, *options):
        self.port, self.kind, self.options = free_port(), kind, options
        self.start()

    def start(self):
        super().__init__(*program(self.kind, "server"), str(self.port), *self.options, name=f"{self.kind} server")
        return self.listening(self.port)

    def link(self, path="/echo", *options):
        return Keepbeat("connect", f"ws://127.0.0.1:{self.port}{path}", *FAST, *options)

    def up(self, path="/echo", *options):
        """A link that is up, and how it got there."""
        link = self.link(path, *options)
        return link, link.until("up", "down")


class Refuser(Talker):
    """A server of ours that says no: the example `say_no`."""

    def __init__(self):
        super().__init__(build("--package", "keepbeat-tokio", "--example", "say_no"), "127.0.0.1:0", name="say_no")
        self.port = int(self.until("listening")[1])


class Client(Talker):
    """A peer as client."""

    def __init__(self, kind, url, *options):
        super().__init__(*program(kind, "client"), url, *options, name=f"{kind} client", stdin=subprocess.PIPE)

    def say(self, line):
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def echo(self, text):
        self.say(f"text {text}")
        self.until("text", re.escape(text))


class Nginx(Peer):
    """nginx that forgets connections which say nothing for 5 s, in front of this port: plain, and with TLS."""

    CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{
            if (-e {folder}/busy) {{
                add_header Retry-After 1 always;
                return 503;
            }}
            proxy_pass http://127.0.0.1:{behind};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_read_timeout 5s;
        }}
    }}
}}
"""

    def __init__(self, behind):
        self.port, self.tls_port = free_port(), free_port()
        self.folder = os.path.join(FOLDER, f"nginx-{self.port}")
        os.mkdir(self.folder)
        self.certificate, key = os.path.join(self.folder, "gate.pem"), os.path.join(self.folder, "gate.key")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-out", self.certificate, "-keyout", key, "-days", "30", "-subj", "/CN=gate",
                        "-addext", "subjectAltName=IP:127.0.0.1",
                        "-addext", "basicConstraints=critical,CA:FALSE"],
                       check=True, capture_output=True, stdin=subprocess.DEVNULL)
        self.config = file(f"nginx-{self.port}.conf", self.CONFIG.format(
            folder=self.folder, port=self.port, tls_port=self.tls_port, behind=behind,
            certificate=self.certificate, key=key))
        self.start()

    def start(self):
        super().__init__("nginx", "-c", self.config, "-e", "stderr", "-p", self.folder)
        return self.listening(self.port).listening(self.tls_port)

    def be_busy(self, busy):
        """Whether it answers 503, with `Retry-After: 1`."""
        flag = os.path.join(self.folder, "busy")
        open(flag, "wb").close() if busy else os.remove(flag)

    def url(self, path="/echo"):
        return f"ws://127.0.0.1:{self.port}{path}"

    def tls_url(self, path="/echo"):
        return f"wss://127.0.0.1:{self.tls_port}{path}"


def at_once(down, what):
    """It was told by the connection's end, not by beats that went unanswered: there was none yet."""
    check(down["beats_sent"] == 0, f"{what}: {down}")


def in_time(down, bound_ms, what, margin_ms=1000):
    """It was found out by beats, within the bound. The margin is for a busy machine."""
    took = down["t_ms"] - down["last_seen_ms"]
    check(down["beats_sent"] > 0 and took <= bound_ms + margin_ms, f"{what} within {bound_ms} ms: {down}")
