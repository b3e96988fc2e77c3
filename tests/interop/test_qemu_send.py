"""ferry send -> QEMU: a snapshot's guest goes on, by every way out."""
import os
import shutil

import pytest

import cases
import ferry
import qemu

pytestmark = pytest.mark.skipif(not shutil.which(cases.INSTALLED.path), reason="no QEMU")
METHODS = [qemu.PLAIN, qemu.COMPRESS, *qemu.MULTIFD]


class Kept:
    """A snapshot, the hashes of its RAM, and what its guest had printed."""

    def __init__(self, directory, program, machine, accel):
        os.mkdir(directory)
        with qemu.Qemu(directory, "source", program, machine=machine, accel=accel) as source:
            source.prints_on()
            self.path, result = ferry.receive(directory, source, qemu.PLAIN, "unix")
            self.hashes, self.printed = ferry.hashes(result), source.serial()

    def serial(self):
        return self.printed


@pytest.fixture(scope="module")
def kept():
    """kept(program, machine, accel): made once for each."""
    parent, made = qemu.harness.scratch(), {}

    def get(*key):
        if key not in made:
            if key[2] == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
                pytest.skip("no /dev/kvm")
            made[key] = Kept(os.path.join(parent, str(len(made))), *key)
        return made[key]

    yield get
    qemu.harness.remove(parent)


def told(peer, destination):
    """How ferry send learns what the destination wants."""
    return {"machine": [], "version": ["--peer", destination.program.label],
            "qmp": ["--peer-qmp", "unix:" + destination.peer_monitor_path]}[peer]


def everything():
    for pair in cases.PAIRS:
        for accel in ("kvm", "tcg"):
            for method in METHODS:
                if not qemu.has_method(pair[1], method):
                    continue
                for medium in ("unix", "tcp") if method.channels else ("unix", "tcp", "exec", "fd"):
                    peers = ["version"] if method is qemu.COMPRESS else ["machine", "version"]
                    yield from ((pair, accel, method, medium, peer) for peer in peers)
                yield pair, accel, method, "unix", "qmp"


def brief(_, accel, method, medium, peer):
    if accel == "tcg":
        return method.name in ("plain", "multifd_zlib_4") and medium == "tcp" and peer == "version"
    if method is qemu.PLAIN:
        return peer == ("machine" if medium in ("exec", "fd") else "version")
    return method.channels in (0, 2) and medium == "unix" and peer in ("version", "qmp")


@cases.rows("pair, accel, method, medium, peer", list(everything()), brief)
def test_guest_goes_on(vm, directory, kept, pair, accel, method, medium, peer):
    machine = cases.machine_of(*pair)
    snapshot = kept(pair[0], machine, accel)
    destination = vm("destination", pair[1], machine=machine, accel=accel, incoming="defer",
                     paused=True)
    ferry.send(directory, snapshot.path, destination, method, medium, told(peer, destination))
    if destination.run_state() != "running":  # asked over its monitor, it was told to go on
        ferry.same_ram(snapshot.hashes, destination)
        destination.qmp("cont")
    destination.prints_on()
    strictly = accel == "kvm" or not pair[0].loses_dirty_pages_under_tcg
    qemu.goes_on(snapshot, destination, strictly=strictly)


@pytest.mark.parametrize("pair", cases.PAIRS, ids=cases.spelled)
@pytest.mark.parametrize("method", [qemu.PLAIN, qemu.multifd("zstd", 2)], ids=cases.spelled)
def test_without_a_return_path(vm, directory, kept, pair, method):
    machine = cases.machine_of(*pair)
    snapshot = kept(pair[0], machine, "kvm")
    destination = vm("destination", pair[1], machine=machine, incoming="defer", paused=True)
    ferry.send(directory, snapshot.path, destination, method, "tcp",
               ["--no-return-path", *told("version", destination)])
    ferry.same_ram(snapshot.hashes, destination)
    destination.qmp("cont")
    destination.prints_on()
    qemu.goes_on(snapshot, destination)


@pytest.mark.parametrize("pair", cases.PAIRS, ids=cases.spelled)
@pytest.mark.parametrize("method", [qemu.PLAIN, qemu.multifd("none", 2)], ids=cases.spelled)
def test_memory_that_was_used_before(vm, directory, kept, pair, method):
    """Zero pages are told in a way that makes every version clear what lies there."""
    machine = cases.machine_of(*pair)
    snapshot = kept(pair[0], machine, "kvm")
    with open(f"{directory}/used", "wb") as f:
        f.write(b"\xff" * (32 * qemu.MIB))
    destination = vm("destination", pair[1], "-machine", "memory-backend=pc.ram", "-object",
                     f"memory-backend-file,id=pc.ram,size=32M,share=on,mem-path={directory}/used",
                     machine=machine, incoming="defer", paused=True)
    ferry.send(directory, snapshot.path, destination, method, words=told("version", destination))
    ferry.same_ram(snapshot.hashes, destination)
    destination.qmp("cont")
    destination.prints_on()
    qemu.goes_on(snapshot, destination)


@pytest.mark.parametrize("pair", cases.PAIRS, ids=cases.spelled)
@pytest.mark.parametrize("start", ["keep", "running", "paused"])
def test_start_says_whether_the_guest_runs(vm, directory, kept, pair, start):
    machine = cases.machine_of(*pair)
    snapshot = kept(pair[0], machine, "kvm")
    destination = vm("destination", pair[1], machine=machine, incoming="defer")
    ferry.send(directory, snapshot.path, destination, words=["--start", start])
    if start == "paused":
        qemu.harness.until(lambda: destination.run_state() == "paused", "the paused guest")
        assert destination.serial() == ""
        destination.qmp("cont")
    destination.prints_on()
    qemu.goes_on(snapshot, destination)


@pytest.mark.parametrize("start", ["keep", "running"])
def test_guest_that_was_paused(vm, directory, start):
    source = vm("source", cases.PAIRS[0][0])
    source.prints_on()
    source.qmp("stop")
    snapshot, result = ferry.receive(directory, source, qemu.PLAIN, "unix")
    ferry.same_ram(ferry.hashes(result), source)
    destination = vm("destination", cases.PAIRS[0][0], incoming="defer")
    ferry.send(directory, snapshot, destination, words=["--start", start])
    if start == "keep":
        qemu.harness.until(lambda: destination.run_state() == "paused", "the paused guest")
        assert destination.serial() == ""
        destination.qmp("cont")
    destination.prints_on()
    qemu.goes_on(source, destination)


def test_uuid_of_the_destination(vm, directory, kept):
    uuid = "01234567-89ab-cdef-0123-456789abcdef"
    program = cases.PAIRS[0][0]
    snapshot = kept(program, program.machine, "kvm")
    destination = vm("destination", program, "-uuid", uuid, incoming="defer", paused=True)
    destination.capability("validate-uuid")
    ferry.send(directory, snapshot.path, destination, qemu.multifd("none", 2),
               words=["--uuid", uuid, "--peer", program.label])
    ferry.same_ram(snapshot.hashes, destination)
    destination.qmp("cont")
    destination.prints_on()
    qemu.goes_on(snapshot, destination)
