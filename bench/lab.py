"""A link whose rate is real, and virtual machines on both its ends: what bench/convergence is made
of."""
import ctypes
import json
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import time

LIBC = ctypes.CDLL(None)
PATIENCE = 60  # seconds for anything but a migration
PAGE = 4096
MIB = 1 << 20

# bench/guest/writer.h and tools/vm/workload-core.h
IMAGE_FACTS, ROM_IMAGE_BYTES = 0x200, 0xff00
FACTS, STATE, READY, BASE = 0x6000, 0x10000, 0x10040, 0x400000
MAGIC = 0x314B524F57595246
KINDS = {"uniform": 0, "hot-cold": 1, "sweep": 2, "zipf": 3, "idle": 4}
FILLS = {"counters": 0, "random": 1, "text": 2}
WIRE_PAGE = PAGE + 8  # a page and the head of its record


def die_with_parent():
    LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True).stdout


def until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {PATIENCE} s in vain for {what}")
        time.sleep(0.002)
    return value


def ticks_per_second():
    """Of the time stamp counter, which the guest's writes are paced by."""
    with open("/proc/cpuinfo", encoding="ascii") as f:
        for line in f:
            if line.startswith("bogomips"):
                return int(float(line.split(":")[1]) * 500000)
    raise RuntimeError("/proc/cpuinfo has no bogomips")


# The link.

SEND = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
data, end = bytes(1 << 18), time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    s.sendall(data)
"""
RECEIVE = """
import socket, sys, time
l = socket.create_server(("", 0))
print(l.getsockname()[1], flush=True)
s, _ = l.accept()
data, n, begin = bytearray(1 << 20), 0, None
while k := s.recv_into(data):
    if begin is None:
        begin = time.monotonic()
        k = 0
    n, end = n + k, time.monotonic()
print(n / (end - begin))
"""


class Link:
    """Two network namespaces joined by a pair of virtual Ethernets, which tc tbf holds at
    @mib_per_second both ways; 0: no namespaces, the loopback. A namespace lives as long as the
    process that holds it, and that one ends with this: nothing stays behind."""

    def __init__(self, mib_per_second):
        self.mib_per_second = mib_per_second
        self.holders = []
        self.address = "127.0.0.1"
        if mib_per_second:
            self.address = "10.77.0.2"
            try:
                self.make()
            except BaseException:
                self.close()
                raise

    def make(self):
        own = os.readlink("/proc/self/ns/net")
        for _ in range(2):
            self.holders.append(subprocess.Popen(["unshare", "--net", "sleep", "infinity"],
                                                 stderr=subprocess.PIPE, text=True,
                                                 preexec_fn=die_with_parent))
        for holder in self.holders:
            until(lambda h=holder: h.poll() is not None
                  or os.readlink(f"/proc/{h.pid}/ns/net") != own, "a network namespace")
            if holder.poll() is not None:
                raise RuntimeError(f"no network namespace: {holder.stderr.read().strip()}")
        run(*self.inside(0), "ip", "link", "add", "ferry0", "type", "veth", "peer", "name",
            "ferry0", "netns", str(self.holders[1].pid))
        rate = self.mib_per_second * MIB
        for end in range(2):
            run(*self.inside(end), "ip", "link", "set", "lo", "up")
            run(*self.inside(end), "ip", "address", "add", f"10.77.0.{end + 1}/24", "dev", "ferry0")
            run(*self.inside(end), "ip", "link", "set", "ferry0", "up")
            run(*self.inside(end), "tc", "qdisc", "add", "dev", "ferry0", "root", "tbf", "rate",
                f"{rate}bps", "burst", "256kb", "latency", "20ms")

    def inside(self, end):
        """What makes a command run at the source's end (0) or the destination's (1)."""
        return ["nsenter", "-t", str(self.holders[end].pid), "-n"] if self.holders else []

    def goodput(self):
        """Bytes per second that one plain TCP connection gets through: the best of a few tries, since
        a host that is busy elsewhere makes it less."""
        return max(self.copy(0.7) for _ in range(3 if self.holders else 1))

    def copy(self, seconds):
        with subprocess.Popen([*self.inside(1), "python3", "-c", RECEIVE], text=True,
                              stdout=subprocess.PIPE, preexec_fn=die_with_parent) as receiver:
            port = receiver.stdout.readline().strip()
            run(*self.inside(0), "python3", "-c", SEND, self.address, port, str(seconds))
            return float(receiver.stdout.read())

    def sent_bytes(self):
        """What left the source's end so far, headers and all."""
        if not self.holders:
            return 0
        with open(f"/proc/{self.holders[0].pid}/net/dev", encoding="ascii") as f:
            for line in f:
                if line.strip().startswith("ferry0:"):
                    return int(line.split(":")[1].split()[8])
        return 0

    def close(self):
        for holder in self.holders:
            holder.kill()
            holder.wait()
        self.holders = []


def settings():
    """What the kernel does with a TCP connection, for the record."""
    names = ["tcp_congestion_control", "tcp_wmem", "tcp_rmem"]
    values = {}
    for name in names:
        with open(f"/proc/sys/net/ipv4/{name}", encoding="ascii") as f:
            values[name] = " ".join(f.read().split())
    return values


# The guest.

def guest_facts(load, pages_per_second):
    """The guest's parameters as they lie in memory: WorkloadFacts and the fill."""
    ticks = ticks_per_second()
    pages = max(load["mib"] * MIB // PAGE, 1)
    hot = max(load.get("hot_pages", 0), 1)
    share = min(int(load.get("hot_share", 0) * 2**32), 2**32)
    interval = int(ticks * 256 / pages_per_second) if pages_per_second else 0
    return struct.pack("<QIIQQQQQQII", MAGIC, KINDS[load["kind"]], 1, pages, min(hot, pages), share,
                       0x5DEECE66D, ticks, max(interval, 1), FILLS[load.get("fill", "random")],
                       load.get("make_up_ms", 250))


def write_images(build, directory, facts):
    """A boot sector for ferry-vm and a ROM for QEMU: the same program."""
    guest = os.path.join(build, "bench", "guest")
    with open(os.path.join(guest, "writer.bin"), "rb") as f:
        image = bytearray(f.read())
    with open(os.path.join(guest, "rom.bin"), "rb") as f:
        rom = f.read()
    image[IMAGE_FACTS:IMAGE_FACTS + len(facts)] = facts
    for name, data in (("writer.bin", image), ("writer.rom", image.ljust(ROM_IMAGE_BYTES, b"\0") + rom)):
        with open(os.path.join(directory, name), "wb") as f:
            f.write(data)


class Lab:
    """What machines of one kind have in common; link and ram_mib are set before one starts."""

    def __init__(self, directory, program):
        self.directory, self.program = directory, program
        self.is_qemu = "qemu" in os.path.basename(program)
        self.link, self.ram_mib = None, 0


class Machine:
    """ferry-vm or QEMU with the writing guest, or waiting for it. Leave it as a context manager to
    kill it."""

    def __init__(self, lab, name, end, incoming):
        self.lab, self.name = lab, name
        self.is_qemu = lab.is_qemu
        self.path = os.path.join(lab.directory, name)
        for suffix in (".qmp", ".ram"):
            if os.path.exists(self.path + suffix):
                os.unlink(self.path + suffix)
        with open(self.path + ".log", "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [*lab.link.inside(end), *(self.qemu() if self.is_qemu else self.ferry()),
                 "-qmp", f"unix:{self.path}.qmp,server=on,wait=off",
                 *(["-incoming", "defer"] if incoming else [])],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)
        self.events, self.text = [], b""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        try:
            until(self.connects, f"the monitor of {name}")
            self.read()
            self("qmp_capabilities")
            self.ram = self.map()
        except BaseException:
            self.__exit__()
            raise

    def qemu(self):
        mib = self.lab.ram_mib
        return [self.lab.program, "-M", "pc,memory-backend=pc.ram", "-accel", "kvm", "-m", f"{mib}M",
                "-object", f"memory-backend-file,id=pc.ram,size={mib}M,mem-path={self.path}.ram,"
                "share=on", "-nodefaults", "-display", "none",
                "-bios", os.path.join(self.lab.directory, "writer.rom")]

    def ferry(self):
        return [self.lab.program, "-m", f"{self.lab.ram_mib}M", "-mem-path", self.path + ".ram",
                "-serial", "none", "-boot-sector", os.path.join(self.lab.directory, "writer.bin")]

    def connects(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {self.log()}")
        return self.socket.connect_ex(self.path + ".qmp") == 0

    def map(self):
        with open(self.path + ".ram", "rb") as f:
            return mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)

    def log(self):
        with open(self.path + ".log", encoding="utf-8", errors="replace") as f:
            return f.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.socket.close()

    def waited_ms(self):
        """How long its threads were ready to run and did not get a processor."""
        total = 0
        tasks = f"/proc/{self.process.pid}/task"
        for task in os.listdir(tasks):
            try:
                with open(f"{tasks}/{task}/schedstat", encoding="ascii") as f:
                    total += int(f.read().split()[1])
            except OSError:
                pass  # it has ended
        return total / 1e6

    # The monitor.

    def take_line(self):
        line, found, rest = self.text.partition(b"\n")
        if not found:
            return None
        self.text = rest
        return json.loads(line)

    def read(self):
        while (said := self.take_line()) is None:
            data = self.socket.recv(65536)
            if not data:
                raise RuntimeError(f"{self.name} closed its monitor: {self.log()}")
            self.text += data
        return said

    def __call__(self, command, **arguments):
        request = {"execute": command}
        if arguments:
            request["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.socket.sendall(json.dumps(request).encode())
        while "return" not in (said := self.read()):
            if "error" in said:
                raise RuntimeError(f"{self.name}: {command}: {said['error']['desc']}")
            self.events.append((time.monotonic(), said))
        return said["return"]

    def listen_for_events(self, seconds):
        """Waits so long at most, or until something is said."""
        if select.select([self.socket], [], [], seconds)[0]:
            self.text += self.socket.recv(65536)
        while (said := self.take_line()) is not None:
            self.events.append((time.monotonic(), said))

    def set(self, **parameters):
        self("migrate-set-parameters", **parameters)

    def capabilities(self, *names):
        self("migrate-set-capabilities",
             capabilities=[{"capability": n, "state": True} for n in names])

    def listen(self, address):
        self("migrate-incoming", uri=f"tcp:{address}:0")
        [said] = self("query-migrate")["socket-address"]
        return f"tcp:{address}:{said['port']}"

    # The guest.

    def number_at(self, offset):
        return int.from_bytes(self.ram[offset:offset + 8], "little")

    def counter(self):
        """Writes begun so far."""
        return self.number_at(STATE)

    def fill(self, mib):
        """Random bytes behind what the guest uses, put there by this process."""
        with open(self.path + ".ram", "r+b") as f:
            f.seek(BASE)
            for _ in range(mib):
                f.write(os.urandom(MIB))

    def rate(self, seconds=0.3):
        """Pages written per second, over a moment."""
        then, began = self.counter(), time.monotonic()
        time.sleep(seconds)
        return (self.counter() - then) / (time.monotonic() - began)
