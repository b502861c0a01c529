"""The brokers of `63-mqtt-brokers`: mosquitto, and a network in between that can fall silent.

It is not executable, so `scripts/test` does not run it.
"""

import os
import select
import shutil
import signal
import socket
import subprocess
import threading

from harness import ENVIRONMENT, FOLDER, Failed, Keepbeat, Peer, check, eventually, free_port, needed

FAST = ("--backoff", "20ms..200ms")
# Deaths are found out within 3 s, and the keep-alive is 1 s.
QUICK = ("--interval", "1s", "--reply-timeout", "1s")


def install():
    """Nothing but what is there already."""
    os.environ["PATH"] += ":/usr/sbin"
    ENVIRONMENT["PATH"] = os.environ["PATH"]
    needed("mosquitto", "openssl")


class Mosquitto:
    """A broker with a port of each kind. What it keeps is in a folder of its own, and written at every change."""

    serial = 0

    def __init__(self, certificate=None):
        Mosquitto.serial += 1
        self.folder = os.path.join(FOLDER, f"mosquitto-{Mosquitto.serial}")
        os.mkdir(self.folder)
        self.port, self.websocket, self.tls = free_port(), free_port(), free_port()
        lines = ["user root", "persistence true", f"persistence_location {self.folder}/", "autosave_interval 1",
                 "autosave_on_changes true", "allow_anonymous true", "max_queued_messages 0", "max_inflight_messages 20",
                 f"listener {self.port} 127.0.0.1", f"listener {self.websocket} 127.0.0.1", "protocol websockets"]
        if certificate:
            cert, key = certificate
            lines += [f"listener {self.tls} 127.0.0.1", f"certfile {cert}", f"keyfile {key}"]
        self.config = os.path.join(self.folder, "mosquitto.conf")
        with open(self.config, "w", encoding="ascii") as out:
            out.write("\n".join(lines) + "\n")
        self.start()

    def start(self):
        self.process = Peer("mosquitto", "-c", self.config).listening(self.port)
        return self

    def kill(self):
        self.process.kill()

    def end(self):
        """Lets it write what it keeps, and end."""
        self.process.process.send_signal(signal.SIGTERM)
        self.process.exit()

    def forget(self):
        for name in os.listdir(self.folder):
            if name.endswith(".db"):
                os.unlink(os.path.join(self.folder, name))

    def stop(self):
        self.process.stop()

    def go_on(self):
        self.process.go_on()

    def url(self, kind="tcp"):
        return {"tcp": f"mqtt://127.0.0.1:{self.port}", "tls": f"mqtts://127.0.0.1:{self.tls}",
                "websocket": f"ws://127.0.0.1:{self.websocket}/mqtt"}[kind]


class Network:
    """Carries bytes to a port, until it falls silent."""

    def __init__(self, port):
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.silent = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            ours, _ = self.listener.accept()
            threading.Thread(target=self._carry, args=(ours,), daemon=True).start()

    def _carry(self, ours):
        try:
            theirs = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            return ours.close()
        ends = {ours: theirs, theirs: ours}
        with ours, theirs:
            while True:
                for end in select.select(ends, [], [], 0.05)[0]:
                    if self.silent.is_set():
                        # Neither end hears of it.
                        self.silent_end(end)
                        return None
                    try:
                        data = end.recv(65536)
                        if not data:
                            return None
                        ends[end].sendall(data)
                    except OSError:
                        return None

    def silent_end(self, end):
        """Keeps both ends open as long as the silence lasts."""
        while self.silent.is_set():
            threading.Event().wait(0.05)


class Link(Keepbeat):
    """A keepbeat with a link to a broker."""

    def __init__(self, url, *options):
        super().__init__("connect", url, *FAST, *options)

    def up(self):
        return self.until("up", "gave_up")


def certificate():
    """A certificate for this machine that signs itself, and its key."""
    cert, key = os.path.join(FOLDER, "broker.pem"), os.path.join(FOLDER, "broker.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
                    "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cert, key
