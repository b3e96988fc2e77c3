"""Virtual machines for tests: start one, talk to its monitor, read its memory and serial line.

The same class drives ferry-vm and QEMU: FERRY_VM names the program, and is ferry-vm of FERRY_BUILD
when it is not set.
"""
import ctypes
import json
import mmap
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

BUILD = os.environ["FERRY_BUILD"]
PROGRAM = os.environ.get("FERRY_VM", os.path.join(BUILD, "tools", "vm", "ferry-vm"))
IS_QEMU = "qemu" in os.path.basename(PROGRAM)

LIBC = ctypes.CDLL(None, use_errno=True)
PATIENCE = 60  # seconds that anything may take before a test gives up
ENDED = {"completed", "failed", "cancelled", "x-ferry-in-doubt"}


class QmpError(Exception):
    """The monitor answered with an error."""


def until(condition, what, patience=PATIENCE):
    """Waits for @condition() to be true and returns what it returned."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience} s in vain for {what}")
        time.sleep(0.002)


def die_with_parent():
    """A test that is killed leaves no machine behind."""
    LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def surroundings(changes):
    """This process's environment with @changes; None takes a variable away."""
    merged = dict(os.environ, **changes)
    return {name: value for name, value in merged.items() if value is not None}


class Qmp:
    """A monitor connection. Raises OSError when the other end is gone."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self.events = []
        self.greeting = self.read()
        self("qmp_capabilities")

    def read(self):
        line = self.lines.readline()
        if not line:
            raise ConnectionResetError("monitor closed")
        return json.loads(line)

    def __call__(self, command, **arguments):
        request = {"execute": command}
        if arguments:
            request["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.socket.sendall(json.dumps(request).encode())
        while True:
            answer = self.read()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise QmpError(answer["error"]["desc"])
            else:
                return answer["return"]

    def close(self):
        self.lines.close()
        self.socket.close()


class Vm:
    """A running virtual machine with a monitor; leave it as a context manager to kill it."""

    def __init__(self, directory, name, *options, memory="64M", smp=1, accel="kvm", boot=None,
                 workload=None, incoming=False, paused=False, environment=None, wrapper=()):
        self.name = name
        self.directory = directory
        self.serial_path = os.path.join(directory, name + ".serial")
        self.ram_path = os.path.join(directory, name + ".ram")
        self.log_path = os.path.join(directory, name + ".log")
        self.monitor_path = os.path.join(directory, name + ".qmp")
        command = [*wrapper, PROGRAM, "-m", memory, "-smp", str(smp), "-accel", accel,
                   "-mem-path", self.ram_path, "-serial", "file:" + self.serial_path,
                   "-qmp", f"unix:{self.monitor_path},server=on,wait=off", *options]
        if IS_QEMU:
            command += ["-nodefaults", "-display", "none"]
        if boot is not None:
            command += (["-drive", f"file={boot},format=raw,if=ide,snapshot=on"] if IS_QEMU
                        else ["-boot-sector", boot])
        if workload is not None:
            command += ["-workload", workload]
        command += ["-incoming", "defer"] if incoming else []
        command += ["-S"] if paused else []
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL,
                                            env=surroundings(environment or {}),
                                            preexec_fn=die_with_parent)
        self.qmp = None
        try:
            self.qmp = until(self.connect, f"monitor of {name}")
        except BaseException:
            self.kill()
            raise

    def connect(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} exited {self.process.returncode}: {self.log()}")
        try:
            return Qmp(self.monitor_path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.kill()

    def kill(self):
        """SIGKILL; harmless when it is gone already."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.qmp:
            self.qmp.close()
            self.qmp = None

    def wait_exit(self):
        return self.process.wait(timeout=PATIENCE)

    def alive(self):
        return self.process.poll() is None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def serial(self):
        with open(self.serial_path, encoding="ascii", errors="replace") as f:
            return f.read()

    def run_state(self):
        return self.qmp("query-status")["status"]

    def running(self):
        return self.qmp("query-status")["running"]

    # Migration.

    def set(self, **parameters):
        self.qmp("migrate-set-parameters", **parameters)

    def capability(self, *names, on=True):
        self.qmp("migrate-set-capabilities",
                 capabilities=[{"capability": n, "state": on} for n in names])

    def listen(self, uri=None):
        """Begins to wait for a migration and returns where."""
        uri = uri or f"unix:{self.directory}/{self.name}.migration"
        self.qmp("migrate-incoming", uri=uri)
        if uri.startswith("tcp:"):
            [address] = self.qmp("query-migrate")["socket-address"]
            host = f"[{address['host']}]" if ":" in address["host"] else address["host"]
            return f"tcp:{host}:{address['port']}"
        return uri

    def migration(self):
        return self.qmp("query-migrate")

    def status(self):
        return self.migration().get("status", "none")

    def syncs(self):
        return self.migration().get("ram", {}).get("dirty-sync-count", 0)

    def wait_status(self, *wanted):
        return until(lambda: (s := self.status()) in wanted and s, f"{self.name}: {wanted}")

    def ended(self):
        """Whether its migration has; False while it is about to exit."""
        return self.status_if_alive() in ENDED

    def untouched(self):
        """Whether it still waits for a source to connect."""
        return self.status_if_alive() in ("none", "setup")

    def status_if_alive(self):
        try:
            return self.status()
        except OSError:
            return None

    def migrate(self, uri):
        self.qmp("migrate", uri=uri)

    # What the process holds.

    def holds(self):
        """Open descriptors and threads."""
        proc = f"/proc/{self.process.pid}"
        return len(os.listdir(proc + "/fd")), len(os.listdir(proc + "/task"))

    def resident_bytes(self):
        """Anonymous memory: guest RAM is a file and does not count."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no RssAnon")

    def ram(self):
        """Guest RAM as it is now, mapped."""
        with open(self.ram_path, "rb") as f:
            return mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)


def no_uring_reason():
    """Why this host forbids io_uring, or None."""
    fd = LIBC.syscall(425, 1, ctypes.create_string_buffer(120))  # io_uring_setup
    if fd < 0:
        return os.strerror(ctypes.get_errno())
    os.close(fd)
    return None


def scratch():
    """A short path (Unix sockets) on memory (guest RAM files)."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return tempfile.mkdtemp(prefix="ferry-", dir=parent)


def remove(directory):
    shutil.rmtree(directory, ignore_errors=True)
