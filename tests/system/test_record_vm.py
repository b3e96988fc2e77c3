"""A guest's writes as x-ferry-record and ferry record --qmp put them down: every one of them, in the
frame that it belongs to, and whole however the recording ends."""
import json
import os
import signal
import subprocess
import sys

import pytest

import harness
from workload import BASE, PAGE, Workload, whole

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs",
                                "examples"))
import pdt

FERRY = os.path.join(harness.BUILD, "tools", "ferry")
RING = "kvm,dirty-ring-size=4096"
METHODS = {"kvm": "kvm-bitmap", RING: "kvm-ring", "process": "pagemap-scan"}
SIZE = 32 << 20
SWEEP = "sweep,size=32M,rate=20000"
FIRST = BASE // PAGE


def told(vm):
    return vm.qmp("x-ferry-query-record")


def await_frames(vm, more):
    enough = told(vm).get("frames", 0) + more
    harness.until(lambda: told(vm).get("frames", 0) >= enough, "frames")


def await_end(vm, how):
    now = harness.until(lambda: (t := told(vm))["status"] in ("ended", "failed") and t, "the end")
    assert now["status"] == "ended", now
    assert now["ended"] == how
    return now


def read(path, how):
    """The whole trace, its frames as a list; "set" has a frame's pages."""
    assert not os.path.exists(path + ".part")
    trace = pdt.Trace(path)
    trace.list = list(trace.frames())
    for frame in trace.list:
        frame["set"] = sorted(pdt.pages_of(frame["runs"]))
    assert trace.ended and trace.totals["ended"] == how
    return trace


def started(vm, **more):
    source = vm("source", workload=SWEEP, **more)
    return source, source.directory + "/trace.pdt"


def pages_of(frame):
    """The sweep's, from 0 on."""
    return [p - FIRST for p in frame["set"] if 0 <= p - FIRST < SIZE // PAGE]


def check_sweep(trace, source):
    """Each page of a sweep is written once before its turn comes again, long after its frame: so
    frames have as many of them as there were writes, neither more nor less."""
    load = Workload(source)
    counters = load.counters()
    written = [load.page_of(0, c) for c in range(1, counters[0] + 1)]
    found, before = 0, set()
    for frame in map(pages_of, trace.list):
        # KVM notes a page when it makes it writable, the write comes after: perhaps a frame later.
        twice = len(before & set(frame))
        assert twice <= load.vcpus
        if load.vcpus == 1:  # in the order in which they were written; a sync takes a moment
            assert set(frame) <= set(written[max(found - 64, 0):found + len(frame) + 64])
        found += len(frame) - twice
        before = set(frame)
    assert found <= sum(counters)
    if max(frame["span_ns"] for frame in trace.list) < 300 * 10**6:  # less than half a sweep
        assert found >= sum(counters) - load.vcpus, "a write that was begun may not be done yet"


@pytest.mark.parametrize("accel, smp", [("kvm", 1), ("kvm", 2), (RING, 1), (RING, 2),
                                        ("process", 1)])
def test_every_write_is_in_one_frame(vm, kvm, accel, smp):
    source, path = started(vm, accel=accel, smp=smp, paused=True)
    source.qmp("x-ferry-record", file=path, interval_ms=10)
    await_frames(source, 2)
    source.qmp("cont")
    harness.until(lambda: Workload(source).total() > 20000, "writes")
    source.qmp("stop")
    await_frames(source, 2)
    source.qmp("x-ferry-record-stop")
    now = await_end(source, "done")
    trace = read(path, "done")
    assert trace.header["method"] == METHODS[accel] and trace.header["n_vcpu"] == smp
    assert trace.header["workload"] == SWEEP and trace.header["interval_ns"] == 10 * 10**6
    [block] = trace.header["blocks"]
    assert (block["name"], block["pages"], block["gpa"]) == ("pc.ram", (64 << 20) // PAGE, 0)
    check_sweep(trace, source)
    assert sum(frame["pages"] for frame in trace.list) == now["pages"]
    assert trace.list[0]["ran_ns"] == 0 and trace.list[-1]["ran_ns"] == 0
    assert any("ran_ns" not in frame for frame in trace.list)


def test_contents_are_told(vm, kvm):
    source, path = started(vm, paused=True)
    source.qmp("x-ferry-record", file=path, interval_ms=10, content=True, licence="CC0-1.0")
    await_frames(source, 2)
    source.qmp("cont")
    harness.until(lambda: Workload(source).total() > 5000, "writes")
    source.qmp("x-ferry-record-stop")
    await_end(source, "done")
    trace = read(path, "done")
    assert trace.header["licence"] == "CC0-1.0"
    assert {trace.classes[p] for p in range(FIRST, FIRST + SIZE // PAGE)} == {0}  # nothing was written yet
    for frame in trace.list:  # a counter and zeros, which pack well; one may be about to be written
        classes = [c for p, c in zip(frame["set"], frame.get("classes", [])) if p >= FIRST]
        assert set(classes) <= {0, 2} and classes.count(0) <= 1


def test_a_guest_that_is_recorded_can_be_moved(vm, kvm):
    source, path = started(vm)
    destination = vm("destination", workload=SWEEP, incoming=True)
    source.qmp("x-ferry-record", file=path, interval_ms=10)
    await_frames(source, 5)
    source.migrate(destination.listen())
    assert source.wait_status("completed", "failed") == "completed", source.migration()
    await_end(source, "interrupted")
    assert read(path, "interrupted").totals["frames"] >= 5
    harness.until(destination.running, "the guest to run at the destination")
    whole(destination)
    destination.qmp("x-ferry-record", file=path, interval_ms=10)  # and recorded there
    await_frames(destination, 5)


# ferry record --qmp


def recorder(source, path, *words):
    process = subprocess.Popen([FERRY, "record", "--json", "--qmp", "unix:" + source.monitor_path,
                                "--interval", "10ms", "-o", path, *words], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=harness.die_with_parent)
    harness.until(lambda: told(source).get("frames", 0) > 5, "frames")
    return process


def finished(process, status=0):
    out, err = process.communicate(timeout=harness.PATIENCE)
    assert process.returncode == status, err
    return json.loads(out)


def test_record_for_a_while(vm, kvm):
    source, path = started(vm)
    said = finished(recorder(source, path, "--duration", "200ms", "--content"))
    trace = read(path, "done")
    assert said["length_ns"] >= 200 * 10**6 and said["ended"] == "done"
    assert said["frames"] == len(trace.list)
    assert said["pages_written"] == sum(frame["pages"] for frame in trace.list)
    assert said["file_bytes"] == os.path.getsize(path)
    assert source.running()


def test_ctrl_c_ends_the_recording(vm, kvm):
    source, path = started(vm)
    process = recorder(source, path)
    process.send_signal(signal.SIGINT)
    assert finished(process)["ended"] == "done"
    assert read(path, "done").list
    whole(source)


def test_a_recorder_that_dies_leaves_a_whole_trace(vm, kvm):
    source, path = started(vm)
    process = recorder(source, path)
    process.kill()
    process.communicate()
    await_end(source, "interrupted")
    assert read(path, "interrupted").list
    whole(source)


def test_a_machine_that_ends_leaves_a_whole_trace(vm, kvm):
    source, path = started(vm)
    process = recorder(source, path)
    source.qmp("quit")
    assert finished(process)["ended"] == "guest-gone"
    assert read(path, "guest-gone").list


def test_a_machine_that_is_killed_leaves_what_it_wrote(vm, kvm):
    source, path = started(vm)
    process = recorder(source, path)
    source.kill()
    assert path + ".part" in finished(process, status=1)["error"]
    assert not os.path.exists(path) and os.path.exists(path + ".part")


def test_who_cannot_record_is_told(vm, kvm, directory):
    source, path = started(vm)
    source.qmp("x-ferry-record", file=path)
    for words, status, why in (
            (["--qmp", "unix:" + source.monitor_path], 1, "being recorded"),
            (["--qmp", "unix:" + directory + "/nobody"], 1, "no such socket"),
            (["--qmp", "unix:" + source.monitor_path, "--interval", "1.5ms"], 2,
             "whole milliseconds")):
        done = subprocess.run([FERRY, "record", "-o", directory + "/other.pdt", *words], text=True,
                              capture_output=True, check=False, timeout=harness.PATIENCE)
        assert done.returncode == status and why in done.stderr
    assert told(source)["status"] == "recording"
