"""A guest is measured and its migration predicted while it runs; then it can still be moved."""
import json
import os
import subprocess

import pytest

import harness
from workload import Workload

FERRY = os.path.join(harness.BUILD, "tools", "ferry")
LOAD = "uniform,size=8M,rate=20000"


def predict(vm, *words):
    done = subprocess.run([FERRY, "predict", "--json", "--qmp", "unix:" + vm.monitor_path,
                           "--runs", "5", *words], capture_output=True, text=True, check=False,
                          timeout=harness.PATIENCE)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def started(vm, **more):
    source = vm("source", workload=LOAD, **more)
    harness.until(lambda: Workload(source).total() > 20000, "the guest to be busy")
    return source


@pytest.mark.parametrize("accel", ["kvm", "kvm,dirty-ring-size=4096", "process"])
def test_a_prediction_leaves_the_guest_where_it_is(vm, kvm, accel):
    source = started(vm, accel=accel)
    status, told = predict(source, "--measure", "0.5", "--bandwidth", "1G", "--max-bandwidth", "0")
    assert status == 0 and told["verdict"] == "meets"
    assert told["guest"]["ram_bytes"] == 64 << 20
    last = told["guest"]["written"][0][-1]
    assert last["window_ms"] >= 500 and 0 < last["written_bytes"] <= (8 << 20) + (1 << 20)
    Workload(source).advances()
    destination = vm("destination", workload=LOAD, accel=accel, incoming=True)
    source.set(max_bandwidth=0, downtime_limit=2000)
    source.migrate(destination.listen())
    assert source.wait_status("completed", "failed") == "completed", source.migration()
    harness.until(destination.running, "the guest to run at the destination")
    assert Workload(destination).total() >= Workload(source).total()


def test_a_link_that_is_too_slow_is_told(vm, kvm):
    source = started(vm)
    status, told = predict(source, "--measure", "0.5", "--bandwidth", "1M", "--downtime-limit", "10",
                           "--patience", "20")
    assert status == 4 and told["verdict"] == "stalls" and told["met"] == 0
    assert told["least_downtime_ms"]["p50"] > 10
    assert source.running()


def test_no_migration_begins_while_a_guest_is_measured(vm, kvm):
    source = started(vm)
    destination = vm("destination", workload=LOAD, incoming=True)
    source.qmp("calc-dirty-rate", calc_time=60)
    with pytest.raises(harness.QmpError, match="being measured"):
        source.qmp("migrate", uri=destination.listen())
    assert source.qmp("query-dirty-rate")["status"] == "measuring"
    assert source.running()
