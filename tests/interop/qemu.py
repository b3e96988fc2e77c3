"""A real QEMU with the guest of writer.S: started, asked, its RAM blocks read while it stands still.

QEMU names the installed program, QEMU_NEWER one to be tried beside it (tests/interop/newer sets it).
"""
import dataclasses
import functools
import hashlib
import os
import re
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "system"))
import harness  # noqa: E402

ROM = os.path.join(harness.BUILD, "tests", "interop", "writer.rom")
STEP = 16  # rounds of the guest between two lines
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Program:
    """A QEMU binary."""
    path: str

    @functools.cached_property
    def version(self):
        """(7, 2)"""
        said = subprocess.run([self.path, "--version"], capture_output=True, text=True, check=True)
        return tuple(int(n) for n in re.search(r"version (\d+)\.(\d+)", said.stdout).groups())

    @property
    def label(self):
        return "%d.%d" % self.version

    @property
    def machine(self):
        """The newest versioned pc that it has."""
        return "pc-i440fx-" + self.label

    @property
    def loses_dirty_pages_under_tcg(self):
        return self.version < (9, 0)


@dataclasses.dataclass(frozen=True)
class Method:
    """How pages travel: what both QEMUs are told."""
    name: str
    capabilities: tuple = ()
    parameters: dict = dataclasses.field(default_factory=dict, hash=False)
    channels: int = 0
    compression: str = ""

    @property
    def shrinks(self):
        return self.compression in ("zlib", "zstd")

    def prepare(self, vm, return_path=True):
        on = [*self.capabilities, *(["return-path"] if return_path else [])]
        vm.capability(*on)
        if self.parameters:
            vm.set(**self.parameters)


def multifd(compression, channels):
    return Method(f"multifd_{compression}_{channels}", ("multifd",),
                  {"multifd_channels": channels, "multifd_compression": compression},
                  channels, compression)


PLAIN, XBZRLE, COMPRESS = Method("plain"), Method("xbzrle", ("xbzrle",)), Method(
    "compress", ("compress",))
SINGLE = [PLAIN, XBZRLE, COMPRESS]
MULTIFD = [multifd(compression, channels) for compression in ("none", "zlib", "zstd")
           for channels in (1, 2, 4, 16)]


def has_method(program, method):
    return method.name != "compress" or program.version < (9, 1)


class Qemu(harness.Vm):
    """A QEMU; leave it as a context manager to kill it. Its guest runs unless @paused or @incoming."""

    def __init__(self, directory, name, program, *options, machine=None, accel="kvm", memory=32,
                 incoming=None, paused=False):
        self.name, self.directory, self.program, self.accel = name, directory, program, accel
        self.serial_path = os.path.join(directory, name + ".serial")
        self.log_path = os.path.join(directory, name + ".log")
        self.monitor_path = os.path.join(directory, name + ".qmp")
        command = [program.path, "-M", machine or program.machine, "-accel", accel,
                   "-m", f"{memory}M", "-nodefaults", "-display", "none", "-bios", ROM,
                   "-serial", "file:" + self.serial_path,
                   "-qmp", f"unix:{self.monitor_path},server=on,wait=off",
                   "-qmp", f"unix:{self.peer_monitor_path},server=on,wait=off", *options]
        command += ["-incoming", incoming] if incoming else []
        command += ["-S"] if paused else []
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL,
                                            preexec_fn=harness.die_with_parent)
        self.qmp = None
        try:
            self.qmp = harness.until(self.connect, f"monitor of {name}")
        except BaseException:
            self.kill()
            raise

    @property
    def peer_monitor_path(self):
        """A second monitor, for whoever sends to it."""
        return os.path.join(self.directory, self.name + ".peer.qmp")

    def hmp(self, command):
        return self.qmp("human-monitor-command", command_line=command)

    def pass_fd(self, name, fd):
        """getfd: @fd is known to migrate and migrate-incoming as fd:NAME."""
        request = '{"execute": "getfd", "arguments": {"fdname": "%s"}}' % name
        socket.send_fds(self.qmp.socket, [request.encode()], [fd])
        while "return" not in (answer := self.qmp.read()):
            assert "error" not in answer, answer

    # What the guest says.

    def lines(self):
        return self.serial().split("\n")[:-1]

    def prints_on(self, lines=3):
        then = len(self.lines())
        harness.until(lambda: len(self.lines()) >= then + lines, f"the guest of {self.name}")

    # RAM blocks, of a guest that stands still.

    def ram_blocks(self):
        """idstr -> (used length, reserved length, host address or None)"""
        blocks = {}
        for line in self.hmp("info ramblock").splitlines()[1:]:
            found = re.match(r"\s*(\S+)\s+\d+ \S+\s+(0x\w+) (0x\w+) (0x\w+)(?: (0x\w+))?", line)
            name, _, used, total, address = found.groups()
            blocks[name] = int(used, 16), int(total, 16), address and int(address, 16)
        return blocks

    def address_of(self, guest_address):
        said = self.hmp("gpa2hva %#x" % guest_address)
        return int(re.search(r"is (0x\w+)", said).group(1), 16)

    def candidates(self, name, length, reserved, address):
        """Where block @name may lie in the process. QEMU before 8.0 does not say; what the guest
        can address is found by that, the rest by the size and the alignment of its mapping."""
        by_guest_address = {"pc.ram": 0, "pc.bios": (1 << 32) - length, "pc.rom": 0xc0000}
        if address is None and name in by_guest_address:
            address = self.address_of(by_guest_address[name])
        if address is not None:
            return [address]
        with open(f"/proc/{self.process.pid}/maps", encoding="ascii") as maps:
            spans = [[int(n, 16) for n in line.split()[0].split("-")] for line in maps
                     if "rw-p" in line and not line.rstrip().endswith("]")]
        return [low for low, high in spans if high - low == reserved and low % (2 * MIB) == 0]

    def sha256(self):
        """idstr -> the hashes that this block may have: one, if it is known where the block lies."""
        with open(f"/proc/{self.process.pid}/mem", "rb", buffering=0) as memory:
            def sha256_of(address, length):
                memory.seek(address)
                return hashlib.sha256(memory.read(length)).hexdigest()
            return {name: {sha256_of(address, used) for address in
                           self.candidates(name, used, reserved, address)}
                    for name, (used, reserved, address) in self.ram_blocks().items()}

    def pmemsave(self, first, length):
        path = os.path.join(self.directory, self.name + ".pmem")
        self.qmp("pmemsave", val=first, size=length, filename=path)
        with open(path, "rb") as f:
            data = f.read()
        os.unlink(path)
        return data

    # Migration.

    def listen(self, uri=None):
        if uri and uri.startswith("tcp:"):
            self.qmp("migrate-incoming", uri=uri)
            [address] = self.qmp("query-migrate")["socket-address"]
            return f"tcp:{address['host']}:{address['port']}"
        return super().listen(uri)

    def migrate_in_rounds(self, uri, method, rounds=3):
        """Begins, and lets it end only after some rounds: until then the budget is too small. QEMU
        may end in its first 100 ms whatever the budget is, so the first round is made to last."""
        self.set(downtime_limit=1, max_bandwidth=MIB if method.shrinks else 32 * MIB)
        self.migrate(uri)
        harness.until(lambda: self.syncs() > 1 or self.status() in harness.ENDED,
                      f"{self.name}: the first round")
        self.set(max_bandwidth=1 << 30)
        harness.until(lambda: self.syncs() > rounds or self.status() in harness.ENDED,
                      f"{self.name}: rounds")
        self.set(downtime_limit=20000)

    def wait_completed(self):
        ended = self.wait_status("completed", "failed", "cancelled")
        assert ended == "completed", (self.migration(), self.log())


def goes_on(*vms, strictly=True):
    """What the guest printed here, then there, is one count without a gap; @strictly: and it found
    its memory as it had left it."""
    text = "".join(vm.serial() for vm in vms)
    assert not strictly or "!" not in text, text
    numbers = [int(line, 16) for line in text.replace("!", "").split("\n")[:-1]]
    assert numbers == [STEP * (i + 1) for i in range(len(numbers))], text
