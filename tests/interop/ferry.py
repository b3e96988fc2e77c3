"""`ferry receive` and `ferry send`, run beside a QEMU."""
import json
import os
import socket
import subprocess

import qemu
from qemu import harness

FERRY = os.path.join(harness.BUILD, "tools", "ferry")


class Ferry:
    """A verb with --json: its events as they come, its result at the end."""

    def __init__(self, directory, verb, *words, pass_fds=()):
        self.verb, self.log_path = verb, os.path.join(directory, f"ferry-{verb}.log")
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([FERRY, verb, "--json", *words], stderr=log, text=True,
                                            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                            pass_fds=pass_fds,
                                            preexec_fn=harness.die_with_parent)

    def event(self, name):
        """The next event of this name."""
        for line in self.process.stdout:
            if (said := json.loads(line)).get("event") == name:
                return said
        raise AssertionError(f"ferry {self.verb} ended without {name}: {self.log()}")

    def log(self):
        with open(self.log_path, encoding="utf-8") as f:
            return f.read()

    def finish(self, status=0):
        """Waits for it to end with @status and returns its result."""
        out, _ = self.process.communicate(timeout=harness.PATIENCE)
        lines = [json.loads(line) for line in out.splitlines()]
        assert self.process.returncode == status, (self.process.returncode, lines, self.log())
        return lines[-1]

    def kill(self):
        """Harmless when it has ended; what it had said is in the test's output."""
        if self.process.poll() is None:
            self.process.kill()
        out, _ = self.process.communicate()
        print(f"--- ferry {self.verb}: {out}{self.log()}")


class Medium:
    """One way between a ferry and a QEMU: where each of the two is told to go."""

    def __init__(self, name, directory):
        self.name, self.path, self.ends = name, os.path.join(directory, "medium-" + name), []
        if name == "exec":
            os.mkfifo(self.path)
        elif name == "fd":
            self.ends = list(socket.socketpair())

    def ferry_listens(self):
        return {"tcp": "tcp:127.0.0.1:0", "exec": "exec:cat " + self.path,
                "fd": f"fd:{self.ferry_fds[0]}" if self.ends else "",
                "unix": "unix:" + self.path}[self.name]

    def qemu_migrates(self, source, listening):
        """Where @source is to migrate to; @listening is what ferry said."""
        if self.name == "fd":
            self.hand_over(source)
        return {"exec": "exec:cat >" + self.path, "fd": "fd:medium"}.get(self.name, listening)

    def qemu_listens(self, destination):
        """Makes @destination wait and returns where ferry is to send to."""
        if self.name == "fd":
            self.hand_over(destination)
        uri = {"tcp": "tcp:127.0.0.1:0", "exec": "exec:cat " + self.path, "fd": "fd:medium",
               "unix": "unix:" + self.path}[self.name]
        listening = destination.listen(uri)
        return {"exec": "exec:cat >" + self.path,
                "fd": f"fd:{self.ferry_fds[0]}" if self.ends else ""}.get(self.name, listening)

    @property
    def ferry_fds(self):
        return [self.ends[0].fileno()] if self.ends else []

    def hand_over(self, vm):
        vm.pass_fd("medium", self.ends[1].fileno())
        self.ends[1].close()

    def started(self):
        """The ferry has its end now; ours would keep the connection open."""
        if self.ends:
            self.ends[0].close()


def hashes(result):
    return {block["name"]: block["sha256"] for block in result["blocks"]}


def same_ram(received, vm):
    """@received: idstr -> hash, against the blocks of a QEMU that stands still."""
    held = vm.sha256()
    assert received.keys() == held.keys()
    assert not [name for name in received if received[name] not in held[name]]


def receive(directory, source, method, medium_name, return_path=True, words=()):
    """@source migrates to a ferry that writes a snapshot; returns its path and the result."""
    snapshot = os.path.join(directory, "snapshot")
    medium = Medium(medium_name, directory)
    method.prepare(source, return_path)
    if method.channels:
        words = (*words, "--channels", str(method.channels))
    ferry = Ferry(directory, "receive", "--output", snapshot, "--hash", *words,
                  medium.ferry_listens(), pass_fds=medium.ferry_fds)
    try:
        medium.started()
        listening = ferry.event("listening")["uri"]
        source.migrate_in_rounds(medium.qemu_migrates(source, listening), method)
        source.wait_completed()
        return snapshot, ferry.finish()
    finally:
        ferry.kill()


def send(directory, snapshot, destination, method=qemu.PLAIN, medium_name="unix", words=()):
    """A ferry sends @snapshot to @destination; returns the result once that has the guest."""
    medium = Medium(medium_name, directory)
    method.prepare(destination)
    if method.channels:
        words = (*words, "--channels", str(method.channels), "--multifd-compression",
                 method.compression)
    if method is qemu.COMPRESS:
        words = (*words, "--compress", "zlib")
    if medium_name == "exec":  # one way
        words = (*words, "--no-return-path")
    uri = medium.qemu_listens(destination)
    ferry = Ferry(directory, "send", "--input", snapshot, *words, uri, pass_fds=medium.ferry_fds)
    try:
        medium.started()
        result = ferry.finish()
        harness.until(lambda: destination.run_state() != "inmigrate", "the guest to arrive")
        return result
    finally:
        ferry.kill()
