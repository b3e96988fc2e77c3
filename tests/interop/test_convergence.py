"""bench/convergence runs and says what it promises; what it measures is nobody's to assert."""
import json
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "system"))
import harness  # noqa: E402
import workload  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))
import lab  # noqa: E402

pytestmark = pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="no /dev/kvm")


@pytest.fixture
def directory():
    path = harness.scratch()
    yield path
    harness.remove(path)


def bench(*options):
    done = subprocess.run([os.path.join(ROOT, "bench", "convergence"), "--build", harness.BUILD,
                           "--mib", "8", "--runs", "1", *options],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


class Guest:
    """A lab.Machine as workload.py wants one."""

    def __init__(self, machine):
        self.name, self.ram = machine.name, lambda: machine.ram


@pytest.mark.parametrize("kind", ["uniform", "hot-cold", "sweep"])
def test_the_guest_writes_as_it_is_told(directory, kind):
    own = lab.Lab(directory, os.path.join(harness.BUILD, "tools", "vm", "ferry-vm"))
    own.link, own.ram_mib = lab.Link(0), 16
    lab.write_images(harness.BUILD, directory, lab.guest_facts(
        {"kind": kind, "mib": 4, "hot_pages": 100, "hot_share": 0.5, "fill": "counters"}, 20000))
    with lab.Machine(own, "guest", 0, False) as machine:
        harness.until(lambda: machine.counter() > 3000, "some writes")
        machine("stop")
        workload.Workload(Guest(machine)).check()
        then = machine.counter()
        machine("cont")
        harness.until(lambda: machine.counter() > then, "more writes")


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and tc are root's")
def test_contenders_take_turns_over_a_real_link(directory):
    path = os.path.join(directory, "lines")
    options = ["--case", "u0.5,64,300", "--contender", "qemu", "--contender", "ferry",
               "--output", path]
    said = bench(*options)
    with open(path, encoding="utf-8") as f:
        link, *rows = [json.loads(line) for line in f]
    assert link["mib_per_second"] == 64 and 0 < link["goodput"] < 64 << 20
    assert sorted(row["contender"] for row in rows) == ["ferry", "qemu"]
    for row in rows:
        assert row["completed"], row
        assert row["rounds"] >= 2 and row["rate_during"] > 0
        assert 8 << 20 < row["wire_bytes"] <= row["link_bytes"]
        assert row["gap_ms"] >= 0 and row["residual_pages"] >= 0
    assert "64 MiB/s, 300 ms: ferry 1: completed" in said

    bench(*options)  # nothing is left to do
    with open(path, encoding="utf-8") as f:
        assert len(f.readlines()) == 3
