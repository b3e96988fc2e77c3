"""Both sides of a migration, played by hand: a source that feeds a captured stream to `ferry
receive`, and a destination as a stock QEMU is one, for `ferry send`."""
import json
import os
import signal
import socket
import struct
import subprocess
import threading

from ferry_program import FERRY, ferry

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STREAMS = os.path.join(ROOT, "tests", "vectors", "streams")
PING = bytes.fromhex("0800020004fe77")  # and two bytes of its value: what a Ferry sends
PATIENCE = 60


def stream(name):
    return subprocess.run(["zstd", "-dcq", os.path.join(STREAMS, name + ".zst")], check=True,
                          capture_output=True).stdout


def expected(name):
    with open(os.path.join(STREAMS, name + ".expected.json"), encoding="utf-8") as f:
        return json.load(f)


def connect(uri):
    kind, rest = uri.split(":", 1)
    if kind == "unix":
        s = socket.socket(socket.AF_UNIX)
        s.connect(rest)
    else:
        host, port = rest.rsplit(":", 1)
        s = socket.create_connection((host, int(port)))
    s.settimeout(PATIENCE)
    return s


class Receive:
    """A `ferry receive --json` that listens."""

    def __init__(self, *options, uri="tcp:127.0.0.1:0"):
        self.process = subprocess.Popen([FERRY, "receive", uri, "--json", *options],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        self.events = [json.loads(first)] if first else []
        self.uri = self.events[0].get("uri") if self.events else None

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.kill()
        self.process.communicate()

    def end(self):
        """Exit status and the last object."""
        out, self.stderr = self.process.communicate(timeout=PATIENCE)
        self.events += [json.loads(line) for line in out.splitlines()]
        return self.process.returncode, self.events[-1]

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)


def feed(uri, *channels):
    """Connects once for each of @channels (bytes), sends them all at once, and returns what was
    answered on the first until it was closed."""
    sockets = [connect(uri) for _ in channels]

    def send(s, data):
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused meanwhile; the answer says more

    threads = [threading.Thread(target=send, args=pair) for pair in zip(sockets, channels)]
    for t in threads:
        t.start()
    said = b""
    try:
        while chunk := sockets[0].recv(4096):
            said += chunk
    except OSError:
        pass
    for t in threads:
        t.join()
    for s in sockets:
        s.close()
    return said


class Destination:
    """Takes in one stream on a Unix socket; @ends says how: "good", "bad" (status 1), "cut" (hangs
    up behind the end), "hang" (says nothing more), "early" (hangs up when @after bytes came)."""

    def __init__(self, path, ends="good", after=0, answers=True):
        self.uri, self.ends, self.after, self.answers = f"unix:{path}", ends, after, answers
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.stream = bytearray()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        self.socket, _ = self.listener.accept()
        answered = 0
        while chunk := self.socket.recv(1 << 20):
            self.stream += chunk
            while self.answers and (at := self.stream.find(PING, answered)) >= 0:
                if at + 9 > len(self.stream):
                    break
                answered = at + 9
                self.socket.sendall(struct.pack(">HH", 2, 4) + self.stream[at + 5:at + 9])
            if self.ends == "early" and len(self.stream) >= self.after:
                break
            if self.ended() and self.ends != "hang" and self.answers:
                if self.ends != "cut":
                    self.socket.sendall(struct.pack(">HHI", 1, 4, self.ends == "bad"))
                break
        self.socket.close()

    def ended(self):
        at = self.stream.rfind(b"\0\6")
        return (0 <= at <= len(self.stream) - 6 and
                at + 6 + int.from_bytes(self.stream[at + 2:at + 6], "big") == len(self.stream) and
                self.stream[at + 6:at + 7] in (b"", b"{"))

    def seen(self, tmp_path):
        """What `ferry inspect` makes of what came."""
        self.thread.join(PATIENCE)
        file = tmp_path / "seen"
        file.write_bytes(self.stream)
        done = ferry("inspect", str(file), "--json", "--hash")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
