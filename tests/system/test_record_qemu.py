"""The RAM of guests in stock QEMU as ferry record --pid puts it down: the pages that the guest
writes and no others, and guest and QEMU go on unharmed."""
import os
import shutil
import subprocess
import sys
import time

import pytest

import harness
from test_record import blocks, can_record, counts, each_in_turn, record, start, trace_of, untouched

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
import lab

assert can_record  # a fixture
QEMU = shutil.which("qemu-system-x86_64")
MIB, PAGE = 1 << 20, 4096
RAM_MIB, SET_MIB, RATE = 64, 16, 4000
FIRST, PAGES = lab.BASE // PAGE, SET_MIB * MIB // PAGE


class Guest:
    """QEMU, no BIOS, and the program of bench/guest, which writes its set page by page."""

    def __init__(self, directory, accel, memory):
        if not QEMU:
            pytest.skip("no qemu-system-x86_64")
        if accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            pytest.skip("no /dev/kvm")
        lab.write_images(harness.BUILD, directory, lab.guest_facts(
            {"kind": "sweep", "mib": SET_MIB, "fill": "random", "make_up_ms": 2000}, RATE))
        self.process = subprocess.Popen(
            [QEMU, "-accel", accel, *memory, "-nodefaults", "-display", "none", "-bios",
             os.path.join(directory, "writer.rom")], preexec_fn=harness.die_with_parent)
        self.pid = self.process.pid
        self.ram = harness.until(self.find_ram, "the guest's RAM")
        harness.until(lambda: self.number_at(lab.READY) == 1, "the guest")

    def find_ram(self):
        assert self.process.poll() is None
        with open(f"/proc/{self.pid}/maps", encoding="utf-8") as f:
            for line in f:
                start_, end = (int(x, 16) for x in line.split()[0].split("-"))
                if line.split()[1].startswith("rw") and end - start_ == RAM_MIB * MIB:
                    return start_
        return None

    def number_at(self, guest_address):
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as f:
            f.seek(self.ram + guest_address)
            return int.from_bytes(f.read(8), "little")

    def writes(self):
        return self.number_at(lab.STATE)

    def unharmed(self):
        then = self.writes()
        harness.until(lambda: self.writes() > then + RATE / 4, "the guest to go on")
        assert self.process.poll() is None and untouched(self.pid)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.kill()
        self.process.wait()


MEMORY = {
    "own": ["-m", f"{RAM_MIB}"],
    "memfd": ["-m", f"{RAM_MIB}M", "-object", f"memory-backend-memfd,id=ram0,size={RAM_MIB}M",
              "-machine", "pc,memory-backend=ram0"],
}


@pytest.mark.parametrize("accel, memory", [("kvm", "own"), ("kvm", "memfd"), ("tcg", "own")])
def test_a_guests_pages_are_each_in_their_frame(directory, accel, memory):
    with Guest(directory, accel, MEMORY[memory]) as guest:
        then = guest.writes()
        told = record(directory, "--pid", guest.pid, "--baseline", 0, "--interval", "50ms",
                      "--duration", "2500ms")
        wrote = guest.writes() - then
        guest.unharmed()
    trace = trace_of(directory)
    assert blocks(trace) == [("pc.ram" if memory == "own" else "ram0", 0, RAM_MIB * MIB // PAGE)]
    times = counts(trace, FIRST, PAGES)
    assert each_in_turn(times, len(trace.list))
    assert sum(times) <= wrote + len(trace.list)
    others = {p for f in trace.list for p in f["set"]} - set(range(FIRST, FIRST + PAGES))
    assert len(others) <= 3  # what the program counts in, and its stack
    assert lab.STATE // PAGE in others
    assert told["pages_written"] - sum(times) <= len(others) * len(trace.list)


def test_a_guest_outlives_recorders_that_are_killed(directory, rng, count):
    with Guest(directory, "kvm", MEMORY["own"]) as guest:
        for _ in range(count(100)):
            recorder = start(directory, "--pid", guest.pid, "--baseline", 0, "--interval", "2ms")
            time.sleep(rng.uniform(0, 0.03))
            recorder.kill()
            recorder.communicate()
        guest.unharmed()


def test_all_mappings_of_a_qemu(directory):
    with Guest(directory, "tcg", MEMORY["own"]) as guest:
        record(directory, "--pid", guest.pid, "--baseline", 0, "--duration", "100ms",
               "--all-mappings")
        guest.unharmed()
    names = [name for name, _, _ in blocks(trace_of(directory))]
    assert "[heap]" in names and "pc.ram" not in names
