"""`ferry receive` as a process, and the peers that connect to it."""
import hashlib
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import wire

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "system"))
import harness  # noqa: E402 (the path comes first)

FERRY = os.path.join(harness.BUILD, "tools", "ferry")
PATIENCE = harness.PATIENCE
SHORT = "500ms"  # for what must be given up
MIB = 1 << 20
SPARE_BYTES = 64 * MIB  # a receiver may hold this beside the RAM that was declared


def sanitized():
    """Whether the programs are built with a sanitizer: their memory says nothing then."""
    with open(FERRY, "rb") as f:
        return b"__asan_init" in f.read() or b"__tsan_init" in f.read()


SANITIZED = sanitized()


def connect(uri):
    """A connection to where a listener listens."""
    kind, where = uri.split(":", 1)
    if kind == "unix":
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(PATIENCE)
        s.connect(where)
        return s
    host, port = where.rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), PATIENCE)


class Peer:
    """One connection of a source; what is sent after the other end hung up is lost, as in life."""

    def __init__(self, uri, first=b""):
        self.socket = connect(uri)
        self.heard = b""
        self.send(first)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def send_for_ever(self, piece):
        """Until the other end hangs up; what it says meanwhile is heard."""
        try:
            while True:
                self.socket.sendall(piece)
                while select.select([self.socket], [], [], 0)[0]:
                    data = self.socket.recv(65536)
                    if not data:
                        return
                    self.heard += data
        except (BrokenPipeError, ConnectionResetError):
            pass

    def end(self):
        """Says that nothing more comes."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return self

    def hear(self):
        """Everything until the other end hangs up."""
        try:
            while data := self.socket.recv(65536):
                self.heard += data
        except ConnectionResetError:
            pass
        return self.heard

    def hear_until(self, condition):
        """Reads on until @condition(answers) is true."""
        while not condition(wire.answers(self.heard)):
            data = self.socket.recv(65536)
            assert data, f"hung up after {wire.answers(self.heard)}"
            self.heard += data

    def is_dropped(self):
        """Waits for the other end to hang up, without an answer."""
        assert self.hear() == b""
        return True

    def is_kept(self):
        """Whether it is still connected, as far as one can see now."""
        return not select.select([self.socket], [], [], 0)[0]

    def close(self):
        self.socket.close()


class Receiver:
    """`ferry receive`, waiting for a source; its output is a directory of its own."""

    def __init__(self, directory, *options, uri=None):
        self.directory = directory
        self.output_directory = os.path.join(directory, "output")
        self.output = os.path.join(self.output_directory, "snapshot")
        os.makedirs(self.output_directory, exist_ok=True)
        command = [FERRY, "receive", uri or f"unix:{directory}/socket", "--json", "--hash",
                   *([] if "--ram-dir" in options else ["--output", self.output]), *options]
        self.log = open(os.path.join(directory, "log"), "w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.log, preexec_fn=harness.die_with_parent)
        self.usage = None
        self.lines = []  # what it said as JSON; the last is None
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        self.uri = self.listening()

    def read(self):
        """Takes what it says while it says it: it never waits for us."""
        for text in self.process.stdout:
            self.lines.append(json.loads(text))
        self.lines.append(None)

    def listening(self):
        """Where, once it does."""
        def said():
            return [line for line in self.lines if not line or line["event"] == "listening"]
        line = harness.until(said, "ferry receive to listen")[0]
        assert line, f"it ended before it listened: {self.errors()}"
        return line["uri"]

    def wait(self):
        """Its exit status; what it said is in lines and errors()."""
        deadline = time.monotonic() + PATIENCE
        while self.usage is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.usage = usage
                self.process.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                self.process.send_signal(signal.SIGABRT)
                raise AssertionError(f"it does not end: {self.errors()}")
            else:
                time.sleep(0.001)
        self.reader.join()
        assert self.lines.pop() is None
        return self.process.returncode

    def alive(self):
        return self.usage is None and self.process.poll() is None

    def errors(self):
        self.log.seek(0)
        return self.log.read()

    def result(self):
        return self.lines[-1]

    def hashes(self):
        return {b["name"]: b["sha256"] for b in self.result()["blocks"]}

    def peak_bytes(self):
        """The most that was ever resident."""
        return self.usage.ru_maxrss * 1024

    def kill(self):
        if self.usage is None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        self.log.close()


def sha256(ram):
    return {idstr: hashlib.sha256(data).hexdigest() for idstr, data in ram.items()}


def declared_bytes(blocks=wire.BLOCKS):
    return sum(n for _, n in blocks)


def check_modest(receiver, declared):
    """It never held more than was declared and a constant."""
    assert SANITIZED or receiver.peak_bytes() < declared + SPARE_BYTES, receiver.peak_bytes() / MIB


def check_clean(receiver):
    """No sanitizer complained, nothing crashed."""
    log = receiver.errors()
    assert receiver.process.returncode >= 0, f"killed by {-receiver.process.returncode}: {log}"
    assert "Sanitizer" not in log and "runtime error" not in log, log
    assert "CRITICAL" not in log and "ERROR:" not in log, log


def check_refused(receiver, words, declared=0):
    """It ended with an error that has all of @words (regular expressions), and left nothing."""
    status = receiver.wait()
    log = receiver.errors()
    check_clean(receiver)
    assert status == 1, log
    for word in [words] if isinstance(words, str) else words:
        assert re.search(word, log), f"{word!r} is not in {log!r}"
    assert receiver.result()["status"] == "failed", receiver.lines
    assert os.listdir(receiver.output_directory) == []
    check_modest(receiver, declared)


def check_received(receiver, ram=None):
    """It ended well, with this RAM."""
    status = receiver.wait()
    check_clean(receiver)
    assert status == 0, receiver.errors()
    assert receiver.result()["status"] == "completed", receiver.lines
    assert receiver.hashes() == sha256(wire.GOOD_RAM if ram is None else ram)
    check_modest(receiver, sum(map(len, (wire.GOOD_RAM if ram is None else ram).values())))


def raise_descriptor_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
