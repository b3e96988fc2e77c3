"""A live source of ours -> QEMU: rounds, deltas and packed pages, judged by what its memory is."""
import hashlib
import os
import random
import shutil
import subprocess

import pytest

import cases
import qemu
from qemu import harness

pytestmark = pytest.mark.skipif(not shutil.which(cases.INSTALLED.path), reason="no QEMU")
LIVE = os.path.join(harness.BUILD, "tests", "interop", "interop-live")
DESTINATIONS = sorted({pair[1] for pair in cases.PAIRS}, key=lambda program: program.version)


class Live(harness.Vm):
    """interop-live: a guest that writes memory and has nothing else."""

    def __init__(self, directory, machine):
        self.name, self.directory = "live", directory
        self.monitor_path = os.path.join(directory, "live.qmp")
        self.log_path = os.path.join(directory, "live.log")
        self.ram_path = os.path.join(directory, "live.ram")
        rng = random.Random(machine)
        with open(self.ram_path, "wb") as f:
            f.truncate(32 * qemu.MIB)
            f.seek(8 * qemu.MIB)
            f.write(rng.randbytes(qemu.MIB))
            f.write(b"as it was " * (qemu.MIB // 10))
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([LIVE, self.monitor_path, machine, self.ram_path],
                                            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            preexec_fn=harness.die_with_parent)
        self.qmp = None
        self.qmp = harness.until(self.connect, "monitor of the live guest")

    def hash(self):
        with open(self.ram_path, "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()


@cases.rows("destination, method",
            [(program, method) for program in DESTINATIONS
             for method in qemu.SINGLE + qemu.MULTIFD if qemu.has_method(program, method)],
            lambda _, method: method.channels in (0, 2))
def test_memory_arrives_as_it_is(vm, directory, destination, method):
    there = vm("destination", destination, incoming="defer", paused=True)
    with Live(directory, destination.machine) as here:
        method.prepare(there)
        method.prepare(here)
        here.set(downtime_limit=1, max_bandwidth=32 * qemu.MIB)
        if method is qemu.XBZRLE:
            here.set(x_ferry_policy="qemu")  # "ferry" holds the pages back that are written again
        here.migrate(there.listen())
        harness.until(lambda: here.syncs() > 4 or here.status() in harness.ENDED, "rounds")
        here.set(downtime_limit=20000, max_bandwidth=1 << 30)
        assert here.wait_status("completed", "failed") == "completed", here.migration()
        harness.until(lambda: there.run_state() != "inmigrate", "the guest to arrive")
        assert here.syncs() > 2
        if method is qemu.XBZRLE:
            assert here.migration()["xbzrle-cache"]["pages"] > 0
        assert {here.hash()} == there.sha256()["pc.ram"]
