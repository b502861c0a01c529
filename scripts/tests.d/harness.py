"""What the tests with real peers share: keepbeat and other people's programs as processes with logs, and ports.

It is not executable, so `scripts/test` does not run it.
"""

import atexit
import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

# Generous: a wait ends with its event, and this only bounds a failure.
PATIENCE = 30
NAME = os.path.basename(sys.argv[0])
FOLDER = tempfile.mkdtemp(prefix=f"keepbeat-{NAME}-")
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("KEEPBEAT_")}
# What runs: of this test, and of the whole script.
STARTED = []


def run(*tests):
    """Runs the tests, a line for each. The first one that fails ends it, with what all of its processes said."""
    began = time.monotonic()
    try:
        for test, *arguments in tests:
            print(f"{NAME}: {' '.join(getattr(part, '__name__', part) for part in (test, *arguments))}", flush=True)
            mark = len(STARTED)
            test(*arguments)
            end(mark)
    except Failed as failed:
        print(f"{NAME}: FAILED: {failed}", file=sys.stderr)
        for process in STARTED:
            print(f"  {process.name} (exit code {process.process.poll()})", file=sys.stderr)
            print("".join(f"    {line[:400]}\n" for line in process.said().splitlines()[-25:]), end="", file=sys.stderr)
        sys.exit(1)
    print(f"{NAME}: all {len(tests)} passed in {time.monotonic() - began:.1f} s")


class Failed(Exception):
    """A test failed."""


def check(holds, what):
    if not holds:
        raise Failed(what)


def has(text, *parts):
    """All the parts stand in the text."""
    for part in parts:
        check(part in text, f"{part!r} is missing in: {text}")


def eventually(holds, what):
    """Waits for something that cannot be waited for without asking again."""
    limit = time.monotonic() + PATIENCE
    while not holds():
        check(time.monotonic() < limit, f"not within {PATIENCE} s: {what}")
        time.sleep(0.005)


def file(name, text):
    path = os.path.join(FOLDER, name)
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    return path


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def needed(*programs):
    for program in programs:
        if not shutil.which(program):
            sys.exit(f"{NAME}: {program} is missing; scripts/test installs it (Debian, as root)")


def node_modules(folder):
    """Puts the packages of npm that this folder names below target/, for the programs of `peers`; returns where."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node-modules")
    found = subprocess.run(["bash", "-euc", 'source "$0" "$1"; echo "$KEEPBEAT_NODE_MODULES"', script, folder], check=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
    ENVIRONMENT["KEEPBEAT_NODE_MODULES"] = found
    return found


class Peer:
    """Somebody else's program. What it says goes to a file."""

    def __init__(self, *command, name=None, **options):
        self.name = name or " ".join(command)
        self.log = os.path.join(FOLDER, f"{time.monotonic_ns()}-{os.path.basename(command[0])}.log")
        with open(self.log, "wb") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "env": ENVIRONMENT, **options}
            # In a group of its own, which dies with it: some have children that live on.
            self.process = subprocess.Popen(command, start_new_session=True, **options)
        STARTED.append(self)

    def listening(self, port):
        """Waits until it listens there. A connection, to see that it does, might use up the only one it takes."""
        def listens():
            check(self.process.poll() is None, f"{self.name}: ended before it listened on port {port}")
            with open("/proc/net/tcp", encoding="ascii") as table:
                sockets = [line.split() for line in table][1:]
            # 0A is LISTEN.
            return any(entry[1].endswith(f":{port:04X}") and entry[3] == "0A" for entry in sockets)
        eventually(listens, f"{self.name}: port {port} is open")
        return self

    def bytes(self):
        with open(self.log, "rb") as log:
            return log.read()

    def said(self):
        return self.bytes().decode(errors="replace")

    def until_said(self, part):
        def says():
            ended = self.process.poll() is not None
            said = part in self.bytes()
            check(said or not ended, f"{self.name}: ended before it said {part}")
            return said
        eventually(says, f"{self.name} says {part}")

    def exit(self):
        try:
            return self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{self.name}: did not exit within {PATIENCE} s") from error

    def stop(self):
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self):
        os.killpg(self.process.pid, signal.SIGCONT)

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Keepbeat(Peer):
    """A keepbeat that speaks JSON lines. Its faults go to the log."""

    def __init__(self, *arguments):
        super().__init__(KEEPBEAT, *arguments, "--json", name=f"keepbeat {' '.join(arguments)}",
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.seen = []
        self.events = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put(None)

    def said(self):
        with contextlib.suppress(queue.Empty):
            while (event := self.events.get_nowait()) is not None:
                self.seen.append(event)
        return "".join(json.dumps(event) + "\n" for event in self.seen) + super().said()

    def until(self, name, *never, **fields):
        """The next event of this name and with these fields. None of the events `never` comes before."""
        while True:
            try:
                event = self.events.get(timeout=PATIENCE)
            except queue.Empty as error:
                raise Failed(f"{self.name}: no {name} {fields} within {PATIENCE} s") from error
            check(event is not None, f"{self.name}: ended before {name} {fields}")
            self.seen.append(event)
            check(event["event"] not in never, f"{self.name}: {event['event']} before {name} {fields}")
            if event["event"] == name and all(event[key] == value for key, value in fields.items()):
                return event

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def echo(self, line):
        """Says a line; it comes back."""
        self.say(line)
        text = self.until("message")["text"]
        check(text == line, f"{self.name}: {text!r} came back, not {line!r}")

    def finish(self, expected):
        """Ends its stdin; what stands on stderr when it is over, with this exit code."""
        self.process.stdin.close()
        while (event := self.events.get(timeout=PATIENCE)) is not None:
            self.seen.append(event)
        code = self.exit()
        check(code == expected, f"{self.name}: exit code {code}, not {expected}")
        return self.bytes().decode()

    def up_and_echo(self):
        """It gets in at once, a line comes back, and it ends with exit code 0; returns how it got in."""
        up = self.until("up", "down")
        self.echo("hello through it all")
        self.finish(0)
        check(self.seen[-1]["event"] == "closed" and self.seen[-1]["unacknowledged"] == 0, f"{self.name}: closed")
        return up

    def fatal(self, *words):
        """It gives up at the first refusal, because trying again would not help, and says why: these words."""
        self._refused(lambda down: down["retry_in_ms"] is None, "it would not try again", words)

    def retried(self, *words):
        """It would try again, and says why: these words. It was started with `--max-attempts 2`."""
        down = self.until("down", "up", "gave_up")
        check(down["retry_in_ms"] is not None, f"{self.name}: it tries again: {down}")
        self.until("connecting", "up", "gave_up", attempt=2)
        self._refused(lambda down: down["retry_in_ms"] is None, "it was the last attempt", words)

    def _refused(self, holds, what, words):
        down = self.until("down", "up")
        check(holds(down), f"{self.name}: {what}: {down}")
        self.until("gave_up", "connecting", "up")
        errors = self.finish(1)
        check(errors.count("\n") == 1, f"{self.name}: one line on stderr: {errors}")
        has(errors, *words)
        return down


def serve(url, *options):
    """A running `keepbeat serve`, and its port."""
    server = Keepbeat("serve", url, *options)
    server.port = server.until("listening")["port"]
    return server


def end(mark=0):
    """Ends what was started from this one on."""
    for peer in STARTED[mark:]:
        peer.kill()
    del STARTED[mark:]


def clean():
    end()
    with contextlib.suppress(OSError):
        shutil.rmtree(FOLDER)


def build(*what):
    """Builds one program of ours; returns where it is."""
    command = ["cargo", "build", "--quiet", "--message-format=json", *what]
    built = subprocess.run(command, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    artifacts = [json.loads(line) for line in built.stdout.splitlines()]
    return next(artifact["executable"] for artifact in artifacts if artifact.get("executable"))


def terminate(*_):
    sys.exit(1)


atexit.register(clean)
for end_of_it in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(end_of_it, terminate)
KEEPBEAT = build("--package", "keepbeat")
