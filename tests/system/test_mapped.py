"""Guests saved to and started from mapped-ram files: pages at fixed places, in QEMU's layout."""
import os
import struct

import pytest

import harness
from workload import Workload

BUSY = "sweep,size=16M,rate=40000"
PAGE = 4096
MIB = 1 << 20


def save(vm, directory, io, workload=BUSY, offset=0, rounds=1):
    """A guest that writes throughout, saved in at least @rounds rounds; and the file."""
    source = vm("source", workload=workload, environment=io)
    if rounds > 1:
        source.set(x_ferry_policy="fixed-rounds=8")  # which send what was written again
    path = os.path.join(directory, "guest.mapped")
    uri = f"file:{path}" + (f",offset={offset}" if offset else "")
    source.capability("mapped-ram")
    source.set(max_bandwidth=0 if rounds == 1 else 64 * MIB, downtime_limit=300 if rounds == 1 else 1)
    Workload(source).advances()
    source.migrate(uri)
    if rounds > 1:
        harness.until(lambda: source.syncs() >= rounds, "rounds")
        source.set(max_bandwidth=0, downtime_limit=2000)
    assert source.wait_status(*harness.ENDED) == "completed", source.migration()
    assert source.run_state() == "postmigrate"
    return source, path, uri


class Layout:
    """What QEMU would find in the file: a walk by its documented layout, not by ours."""

    def __init__(self, path, offset=0):
        with open(path, "rb") as f:
            self.data = f.read()
        self.at = offset
        assert self.take(8) == b"QEVM\0\0\0\3"
        assert self.take(1) == b"\7"
        self.machine = self.take(self.number(4))
        assert self.take(1) == b"\5" and self.name() == b"configuration/capabilities"
        assert (self.number(4), self.number(4), self.name()) == (1, 1, b"mapped-ram")
        assert self.take(1) == b"\1"
        self.section = self.number(4)
        assert (self.name(), self.number(4), self.number(4)) == (b"ram", 0, 4)
        total = self.number(8)
        assert total & 0xfff == 4
        self.blocks = {}
        while sum(length for length, _, _ in self.blocks.values()) < total - 4:
            self.block()
        assert self.number(8) == 0x10
        assert (self.take(1), self.number(4)) == (b"\x7e", self.section)
        while self.data[self.at] == 2:  # every later section is empty
            self.empty_section()
        if self.data[self.at] == 8:
            assert self.take(5) == b"\x08\0\x0b\0\0", "the switchover begins"
        assert self.data[self.at] == 3
        self.empty_section()
        assert self.data[self.at] == 4, "device sections follow"

    def take(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, n):
        return int.from_bytes(self.take(n), "big")

    def name(self):
        return self.take(self.number(1))

    def block(self):
        name, length = self.name(), self.number(8)
        here = self.at
        version, page_size, bitmap_at, pages_at = struct.unpack(">IQQQ", self.take(28))
        assert (version, page_size, bitmap_at) == (1, PAGE, here + 28)
        assert pages_at % MIB == 0 and pages_at >= bitmap_at + (length // PAGE + 63) // 64 * 8
        self.blocks[name] = (length, bitmap_at, pages_at)
        self.at = pages_at + length

    def empty_section(self):
        self.at += 1
        assert self.number(4) == self.section and self.number(8) == 0x10
        assert (self.take(1), self.number(4)) == (b"\x7e", self.section)

    def pages(self, name):
        """Whether each page is there, and RAM as it is then."""
        length, bitmap_at, pages_at = self.blocks[name]
        there = [self.data[bitmap_at + i // 8] >> i % 8 & 1 for i in range(length // PAGE)]
        ram = b"".join(self.data[pages_at + i * PAGE:pages_at + (i + 1) * PAGE] if is_there
                       else bytes(PAGE) for i, is_there in enumerate(there))
        return there, ram


def arrive(vm, uri, io, source, workload=BUSY):
    """A second machine from the file, paused: its RAM is the source's, byte for byte."""
    destination = vm("destination", workload=workload, incoming=True, paused=True, environment=io)
    destination.capability("mapped-ram")
    destination.qmp("migrate-incoming", uri=uri)
    assert destination.wait_status(*harness.ENDED) == "completed", destination.log()
    assert destination.ram()[:] == source.ram()[:]
    return destination


@pytest.mark.parametrize("offset", [0, 0x12345], ids=["whole", "behind-other-bytes"])
def test_guest_goes_on_from_the_file(vm, kvm, io, directory, offset):
    source, path, uri = save(vm, directory, io, offset=offset)
    assert source.syncs() >= 2
    destination = arrive(vm, uri, io, source)
    destination.qmp("cont")
    Workload(destination).advances()
    there, ram = Layout(path, offset).pages(b"pc.ram")
    assert ram == source.ram()[:]
    zero = bytes(PAGE)
    assert all(is_there == (ram[i * PAGE:(i + 1) * PAGE] != zero)
               for i, is_there in enumerate(there)), "zero pages are not there, others are"


def test_rounds_do_not_make_the_file_longer(vm, kvm, io, directory):
    source, path, _ = save(vm, directory, io, rounds=4)
    ram = source.migration()["ram"]
    assert ram["dirty-sync-count"] >= 4 and ram["normal"] * PAGE > 20 * MIB, ram
    assert os.path.getsize(path) < 64 * MIB + 3 * MIB  # RAM, alignment, devices
    assert os.stat(path).st_blocks * 512 < 20 * MIB, "zero pages take no room"
    assert Layout(path).pages(b"pc.ram")[1] == source.ram()[:]


@pytest.mark.parametrize("uri", ["tcp:127.0.0.1:0", "unix:{}/m", "exec:cat >/dev/null"])
def test_other_media_are_refused_by_name(vm, kvm, directory, uri):
    uri = uri.format(directory)
    source = vm("source", workload=BUSY)
    source.capability("mapped-ram")
    with pytest.raises(harness.QmpError, match="'mapped-ram' requires a file: address"):
        source.migrate(uri)
    assert source.running()
    destination = vm("destination", workload=BUSY, incoming=True)
    destination.capability("mapped-ram")
    with pytest.raises(harness.QmpError, match="'mapped-ram' requires a file: address"):
        destination.qmp("migrate-incoming", uri=uri)
    destination.capability("mapped-ram", on=False)
    destination.listen()


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "expected"])
def test_capability_on_one_side_only_is_refused_by_name(vm, kvm, directory, saved):
    source = vm("source", workload=BUSY)
    uri = f"file:{directory}/guest"
    source.capability("mapped-ram", on=saved)
    source.set(max_bandwidth=0)
    source.migrate(uri)
    assert source.wait_status(*harness.ENDED) == "completed", source.migration()
    destination = vm("destination", workload=BUSY, incoming=True)
    destination.capability("mapped-ram", on=not saved)
    destination.qmp("migrate-incoming", uri=uri)
    assert destination.wait_exit() == 1
    there, here = ("on", "off") if saved else ("off", "on")
    assert f"capability 'mapped-ram' is {there} at the source, but {here} here" in destination.log()


def patched(path, at, replacement):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(replacement)


def cut(path, at):
    os.truncate(path, at)


def spoil(path, how):
    length, bitmap_at, pages_at = Layout(path).blocks[b"pc.ram"]
    header = bitmap_at - 28
    end = bitmap_at + length // PAGE // 8
    {
        "version": lambda: patched(path, header, b"\0\0\0\2"),
        "page-size": lambda: patched(path, header + 4, (8192).to_bytes(8, "big")),
        "bitmap-elsewhere": lambda: patched(path, header + 12, (1 << 40).to_bytes(8, "big")),
        "pages-over-the-bitmap": lambda: patched(path, header + 20, (0).to_bytes(8, "big")),
        "pages-past-the-end": lambda: patched(path, header + 20, (1 << 50).to_bytes(8, "big")),
        "cut-in-the-pages": lambda: cut(path, pages_at + length // 2),
        "cut-in-the-bitmap": lambda: cut(path, end - 1),
        "cut-behind-the-list": lambda: cut(path, pages_at + length),
    }[how]()


@pytest.mark.parametrize("how, words", [
    ("version", "mapped-ram: version 2 is not supported"),
    ("page-size", "pages of 8192 bytes"),
    ("bitmap-elsewhere", "bitmap at 1099511627776"),
    ("pages-over-the-bitmap", "begin inside the bitmap"),
    ("pages-past-the-end", "its pages end at byte"),
    ("cut-in-the-pages", "its pages end at byte"),
    ("cut-in-the-bitmap", "its pages end at byte"),
    ("cut-behind-the-list", "ended inside"),
])
def test_broken_file_is_refused_by_name(vm, kvm, directory, how, words):
    _, path, uri = save(vm, directory, {}, workload="uniform,size=16M,rate=2000")
    spoil(path, how)
    destination = vm("destination", workload=BUSY, incoming=True)
    destination.capability("mapped-ram")
    destination.qmp("migrate-incoming", uri=uri)
    assert destination.wait_exit() == 1
    assert words in destination.log(), destination.log()
    assert destination.serial() == ""


def test_cancelled_save_leaves_the_guest_running(vm, kvm, io, directory):
    source = vm("source", workload=BUSY, environment=io)
    source.capability("mapped-ram")
    source.set(max_bandwidth=4 * MIB)
    source.migrate(f"file:{directory}/guest")
    harness.until(lambda: source.migration().get("ram", {}).get("transferred", 0) > MIB, "pages")
    before = source.holds()
    source.qmp("migrate_cancel")
    assert source.wait_status(*harness.ENDED) == "cancelled"
    assert source.holds() < before
    Workload(source).advances()
