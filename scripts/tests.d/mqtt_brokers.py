"""The brokers of `63-mqtt-brokers` and `64-mqtt-kills`, and a network in between that can fall silent.

It is not executable, so `scripts/test` does not run it.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import threading

from harness import ENVIRONMENT, FOLDER, Keepbeat, Peer, eventually, file, free_port, needed, node_modules

PEERS = "scripts/tests.d/peers"
# Deaths are found out within 3 s, and the keep-alive is 1 s.
QUICK = ("--interval", "1s", "--reply-timeout", "1s")
# Name and password of those who may connect to a broker that is locked.
USER, PASSWORD = "pump", "right"


def install():
    """What the brokers of Node are built on, outside of the tree. mosquitto must be there."""
    os.environ["PATH"] += ":/usr/sbin"
    ENVIRONMENT["PATH"] = os.environ["PATH"]
    needed("mosquitto", "mosquitto_passwd", "openssl")
    node_modules(PEERS)


class Broker:
    """A broker with a port of each kind. What it keeps is in a folder of its own."""

    serial = 0
    versions = ("3", "5")
    # Whether it publishes at QoS 2 again, when it was restarted, what it had sent PUBREL for.
    publishes_again = False
    # The versions in which it publishes, when it was restarted, messages of QoS 2 before older ones.
    mixes = ()
    # Whether what is published while its subscriber comes back may be delivered twice.
    doubles = False
    ways = ("tcp", "tls", "websocket")

    def __init__(self):
        Broker.serial += 1
        self.folder = os.path.join(FOLDER, f"broker-{Broker.serial}")
        os.mkdir(self.folder)
        self.port, self.websocket, self.tls = free_port(), free_port(), free_port()
        self.start()

    def start(self):
        self.process = Peer(*self.command()).listening(self.port)

    def kill(self):
        self.process.kill()

    def end(self):
        """Lets it write what it keeps, and end."""
        self.process.process.send_signal(signal.SIGTERM)
        self.process.exit()

    def forget(self):
        """What it kept is gone. It is not running."""
        shutil.rmtree(self.folder)
        os.mkdir(self.folder)

    def stop(self):
        self.process.stop()

    def go_on(self):
        self.process.go_on()

    def url(self, way="tcp"):
        return {"tcp": f"mqtt://127.0.0.1:{self.port}", "tls": f"mqtts://127.0.0.1:{self.tls}",
                "websocket": f"ws://127.0.0.1:{self.websocket}/mqtt"}[way]

    def keeps(self, client):
        """Waits until a kill leaves what this client had when it took a message of QoS 2."""


class Mosquitto(Broker):
    """It writes what it keeps as a whole, and after it has answered. If it is killed, it is set back to what it was then."""

    publishes_again = True
    mixes = ("3",)
    # Whether it does so after every change, too, or at its end alone.
    saves = True

    def __init__(self, locked=False):
        self.locked = locked
        super().__init__()

    def command(self):
        cert, key = certificate()
        lines = ["user root", "persistence true", f"persistence_location {self.folder}/",
                 f"autosave_interval {int(self.saves)}", "autosave_on_changes true", "max_queued_messages 0",
                 "max_inflight_messages 20", "set_tcp_nodelay true", f"log_type {'all' if self.saves else 'error'}",
                 f"listener {self.port} 127.0.0.1", f"listener {self.websocket} 127.0.0.1", "protocol websockets",
                 f"listener {self.tls} 127.0.0.1", f"certfile {cert}", f"keyfile {key}"]
        if self.locked:
            users = os.path.join(self.folder, "users")
            subprocess.run(["mosquitto_passwd", "-c", "-b", users, USER, PASSWORD], check=True, stderr=subprocess.DEVNULL)
            lines += ["allow_anonymous false", f"password_file {users}"]
        else:
            lines.append("allow_anonymous true")
        return "mosquitto", "-c", file(f"{os.path.basename(self.folder)}.conf", "\n".join(lines) + "\n")

    def keeps(self, client):
        """It writes by one thread, to a file that takes the place of the one before."""
        def file_now():
            with contextlib.suppress(FileNotFoundError):
                # The number alone may be that of an earlier file, used again.
                found = os.stat(os.path.join(self.folder, "mosquitto.db"))
                return found.st_ino, found.st_ctime_ns
        self.process.until_said(f"Received PUBCOMP from {client} ".encode())
        before = file_now()
        self.process.process.send_signal(signal.SIGUSR1)
        eventually(lambda: file_now() not in (None, before), f"mosquitto has written what {client} has")


class Aedes(Broker):
    """It speaks MQTT 3.1.1 alone. A publish of QoS 1 is acknowledged before it is written, and one of QoS 2 is known as
    received before it is written for those who are to have it."""

    versions = ("3",)
    doubles = True

    def __init__(self, locked=False):
        # It looks at passwords of those who give one, and has no list of users.
        super().__init__()

    def command(self):
        ports = (str(port) for port in (self.port, self.websocket, self.tls))
        # It may write what it enqueues in another order, and drops what comes late then: one thread has one order.
        return "env", "UV_THREADPOOL_SIZE=1", "node", f"{PEERS}/aedes-broker.mjs", self.folder, *ports, *certificate()


class Keeping(Broker):
    """Ours: it writes what it is told before it answers."""

    ways = ("tcp",)

    def command(self):
        return "node", f"{PEERS}/keeping-broker.mjs", self.folder, str(self.port)


class Network:
    """Carries bytes to a port, until it falls silent. Counts the PINGREQs."""

    def __init__(self, port):
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.speaks = threading.Event()
        self.speaks.set()
        # What came from clients, in the order and in the pieces in which it came.
        self.pieces = []
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self):
        return f"mqtt://127.0.0.1:{self.port}"

    def falls_silent(self):
        self.speaks.clear()

    def speaks_again(self):
        self.speaks.set()

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
        with ours, theirs, contextlib.suppress(OSError):
            while True:
                for end in select.select(ends, [], [])[0]:
                    if not self.speaks.is_set():
                        # Neither end hears of it, and both stay open as long as the silence lasts.
                        self.speaks.wait()
                        return None
                    data = end.recv(65536)
                    if not data:
                        return None
                    if end is ours:
                        self.pieces.append(data)
                    ends[end].sendall(data)


class Link(Keepbeat):
    """A keepbeat with a link to a broker. It is back within 200 ms."""

    def __init__(self, url, *options):
        trust = ("--ca", certificate()[0]) if url.startswith("mqtts:") else ()
        super().__init__("connect", url, "--backoff", "20ms..200ms", *trust, *options)

    def up(self):
        return self.until("up", "gave_up")

    def cost(self):
        """Seconds of CPU so far, and how often one of its threads woke up."""
        busy = wakes = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            folder = f"/proc/{self.process.pid}/task/{task}"
            with open(f"{folder}/schedstat", encoding="ascii") as schedule:
                busy += int(schedule.read().split()[0])
            with open(f"{folder}/status", encoding="ascii") as status:
                wakes += sum(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt_switches"))
        return busy / 1e9, wakes


def certificate():
    """A certificate for this machine that signs itself, and its key."""
    cert, key = os.path.join(FOLDER, "broker.pem"), os.path.join(FOLDER, "broker.key")
    if not os.path.exists(cert):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
                        "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cert, key
