"""ferry predict asks a stock QEMU whose guest runs; the guest stays and runs on."""
import json
import os
import shutil
import subprocess

import pytest

import cases
from qemu import harness

FERRY = os.path.join(harness.BUILD, "tools", "ferry")
pytestmark = pytest.mark.skipif(not shutil.which(cases.INSTALLED.path), reason="no QEMU")
SOURCE = cases.PAIRS[0][0]


@pytest.mark.parametrize("accel", ["kvm", "tcg"])
def test_a_guest_of_qemu(vm, accel):
    source = vm("source", SOURCE, accel=accel)
    source.prints_on()
    done = subprocess.run([FERRY, "predict", "--json", "--qmp", "unix:" + source.peer_monitor_path,
                           "--measure", "2", "--bandwidth", "1Gbit/s", "--runs", "5"],
                          capture_output=True, text=True, check=False, timeout=harness.PATIENCE)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    version = "%d.%d" % SOURCE.version[:2]
    assert told["guest"]["seen_by"] == f"QEMU {version}" and told["verdict"] == "meets"
    assert told["policy"] == ("qemu-7.2" if SOURCE.version < (8, 0) else "qemu")
    assert told["guest"]["ram_bytes"] == 32 << 20
    assert source.running()
    source.prints_on()
