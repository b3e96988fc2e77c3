"""ferry demo, end to end: two processes, one guest, every byte proven."""
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from ferry_program import FERRY, ferry

SMALL = ["demo", "--json", "--memory", "64M", "--bandwidth", "64M"]


@pytest.fixture(params=["kvm", "process"])
def accel(request):
    checks = json.loads(ferry("check", "--json").stdout)["checks"]
    needs = ["kvm"] if request.param == "kvm" else ["userfaultfd", "pagemap_scan"]
    missing = [name for name in needs if not checks[name]["available"]]
    if missing:
        pytest.skip("missing here: " + ", ".join(missing))
    return request.param


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(word) for word in f.read().split()]


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_the_guest_moves_and_all_of_its_memory_is_proven(accel, transport):
    done = ferry(*SMALL, "--accel", accel, "--transport", transport)
    *events, last = lines_of(done.stdout)
    assert done.returncode == 0, done.stderr
    assert last["status"] == "completed" and last["verified"] is True
    assert last["accel"] == accel and last["io"] in ("uring", "poll")
    assert (last["congestion_control"] is None) == (transport == "unix")
    assert last["hash_source"] == last["hash_destination"] != None  # noqa: E711
    assert 0 < last["downtime_ms"] < last["total_time_ms"] + 1
    assert last["downtime_predicted_ms"] > 0
    assert sum(v for k, v in last["downtime_parts_ms"].items() if k != "total_ms") == \
        pytest.approx(last["downtime_ms"], rel=0.05, abs=0.1)
    assert last["guest_writes_at_destination"] > last["guest_writes_at_source"] > 0
    rounds = [e for e in events if e["event"] == "round"]
    assert len(rounds) == last["rounds"] >= 2
    assert [r["number"] for r in rounds] == list(range(1, last["rounds"] + 1))
    assert sum(r["first_pages"] for r in rounds) == (64 << 20) / 4096
    assert sum(r["normal_pages"] + r["zero_pages"] for r in rounds) >= (64 << 20) / 4096
    assert last["outcome"] == "completed" and last["policy"] == "ferry"
    assert last["amplification"]["pages"] >= 1 and last["timed_out"] is False
    assert sum(r["sent_bytes"] for r in rounds) <= last["sent_bytes"]
    assert not os.path.exists(events[0]["directory"])


def test_text_shows_rounds_parts_and_the_verdict(accel):
    done = ferry("demo", "--memory", "32M", "--bandwidth", "0", "--accel", accel)
    assert done.returncode == 0 and done.stderr == ""
    for word in ["round", "last round", "device state", "verify all RAM", "predicted", "measured",
                 "before", "during", "after", "identical"]:
        assert word in done.stdout
    assert "NOT identical" not in done.stdout


def start(*words):
    process = subprocess.Popen([FERRY, *SMALL, "--bandwidth", "1M", *words],
                               stdout=subprocess.PIPE, text=True)
    event = json.loads(process.stdout.readline())
    assert event["event"] == "start" and os.path.exists(event["directory"])
    children = children_of(process.pid)
    assert len(children) == 2
    time.sleep(1.5)  # the guest's speed is measured first; either way it must end cleanly
    return process, children, event["directory"]


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_ctrl_c_is_a_clean_cancel(accel):
    process, children, directory = start("--accel", accel)
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 3
    assert lines_of(rest)[-1]["status"] == "cancelled"
    assert all(gone(pid) for pid in children)
    assert not os.path.exists(directory)


def test_children_die_with_a_killed_demo(accel):
    process, children, directory = start("--accel", accel)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while not all(gone(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    shutil.rmtree(directory)  # a killed program cannot tidy up


@pytest.mark.parametrize("timeout, workload, words", [
    ("2s", "idle,fill=random", "the first pass over its memory took more than 2 s"),
    ("5s", "uniform,size=24M,rate=20000,fill=random", "it did not converge in 5 s: the guest"),
], ids=["a round", "a budget"])
def test_what_does_not_end_in_time_is_exit_4_and_says_why(accel, timeout, workload, words):
    bandwidth = "1M" if timeout == "2s" else "16M"
    done = ferry("demo", "--json", "--memory", "32M", "--bandwidth", bandwidth, "--timeout",
                 timeout, "--workload", workload, "--downtime-limit", "20", "--accel", accel)
    last = lines_of(done.stdout)[-1]
    assert done.returncode == 4
    assert last["status"] == "failed" and last["outcome"] == "timed-out"
    assert words in last["error"]


def test_on_timeout_pause_moves_the_guest_all_the_same(accel):
    done = ferry("demo", "--json", "--memory", "32M", "--bandwidth", "16M", "--timeout", "3s",
                 "--on-timeout", "pause", "--policy", "qemu", "--downtime-limit", "20",
                 "--workload", "uniform,size=24M,rate=20000,fill=random", "--accel", accel)
    last = lines_of(done.stdout)[-1]
    assert done.returncode == 0, done.stderr
    assert last["outcome"] == "completed" and last["timed_out"] is True and last["verified"]
    assert last["policy"] == "qemu"


@pytest.mark.parametrize("option, value, words", [
    ("--policy", "none", "there is no such policy"),
    ("--policy", "fixed-rounds=0", "1 to 1000"),
    ("--on-stall", "retry", "wait, pause, throttle or cancel"),
    ("--on-timeout", "throttle", "pause or cancel"),
])
def test_what_is_not_known_is_a_usage_error(option, value, words):
    done = ferry("demo", option, value)
    assert done.returncode == 2 and words in done.stderr


def test_a_destination_that_dies_is_exit_1_and_said(accel):
    process, children, directory = start("--accel", accel)
    destination = next(pid for pid in children
                       if b"-incoming" in open(f"/proc/{pid}/cmdline", "rb").read())
    os.kill(destination, signal.SIGKILL)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    last = lines_of(rest)[-1]
    assert last["status"] == "failed" and last["error"]
    assert all(gone(pid) for pid in children)
    assert not os.path.exists(directory)


def test_no_ferry_vm_is_refused_before_it_began():
    done = ferry(*SMALL, env={**os.environ, "FERRY_VM": "/nowhere/ferry-vm"})
    assert done.returncode == 5
    assert lines_of(done.stdout)[-1]["status"] == "failed"
    assert "/nowhere/ferry-vm" in done.stderr
