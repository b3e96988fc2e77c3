"""Guests that outrun the link: each choice of what then happens does what it says, the guest is whole
and at full speed afterwards, and what a user changes meanwhile counts."""
import os
import subprocess

import pytest

import harness
from workload import Workload, whole

FERRY = os.path.join(os.environ["FERRY_BUILD"], "tools", "ferry")
WRITES = "uniform,size=32M,rate=20000"  # 78 MiB/s
LINK = 32 << 20  # so that about 19 of the 32 MiB stay dirty: some 600 ms


@pytest.fixture
def pair(vm, kvm):
    """Source and destination, the limit out of reach, and how fast the guest is."""
    source = vm("source", workload=WRITES)
    destination = vm("destination", workload=WRITES, incoming=True)
    harness.until(lambda: Workload(source).total() > 1000, "the guest to be busy")
    source.capability("events")
    source.set(max_bandwidth=LINK, avail_switchover_bandwidth=LINK, downtime_limit=100)
    return source, destination


def ours(vm):
    return vm.migration()["x-ferry"]


def goes_on(source, destination):
    """The guest runs at full speed at the destination, and nothing of it is lost."""
    harness.until(destination.running, "the guest to run at the destination")
    assert not source.running()
    harness.until(lambda: Workload(destination).rate() > 10000, "full speed")
    destination.qmp("stop")
    whole(destination)


def stays(source):
    harness.until(source.running, "the guest to run on")
    assert source.migration().get("cpu-throttle-percentage", 0) == 0
    harness.until(lambda: Workload(source).rate() > 10000, "full speed")


def test_cancel_leaves_the_guest_and_says_what_is_possible(pair):
    source, destination = pair
    source.set(x_ferry_on_stall="cancel")
    source.migrate(destination.listen())
    with subprocess.Popen([FERRY, "status", "--watch", "--qmp", f"unix:{source.monitor_path}"],
                          stdout=subprocess.PIPE, text=True) as watch:
        assert source.wait_status("completed", "failed") == "failed"
        text = watch.communicate(timeout=60)[0]
    answer = source.migration()
    assert answer["x-ferry"]["outcome"] == "stalled" and "100 ms" in answer["error-desc"], answer
    forecast = answer["x-ferry"]["forecast"]
    assert forecast["outlook"] == "stalls" and 300 < forecast["floor_ms"] < 1200, forecast
    assert "cannot meet 100 ms" in forecast["verdict"]
    assert watch.returncode == 4 and "cannot meet 100 ms" in text
    stays(source)


def test_pause_moves_the_guest_with_the_shortest_downtime(pair):
    source, destination = pair
    source.set(x_ferry_on_stall="pause")
    source.migrate(destination.listen())
    assert source.wait_status("completed", "failed") == "completed", source.migration()
    told = ours(source)
    assert told["outcome"] == "completed" and not told["timed_out"]
    assert told["throttled_ms"] == 0
    assert told["forecast"]["outlook"] == "stalls", told["forecast"]
    goes_on(source, destination)


def test_throttle_slows_the_guest_until_the_limit_is_met(pair):
    source, destination = pair
    source.set(x_ferry_on_stall="throttle")
    source.migrate(destination.listen())
    assert source.wait_status("completed", "failed") == "completed", source.migration()
    told = ours(source)
    assert told["throttled_ms"] > 0 and any(r["throttle_percent"] for r in told["rounds"])
    assert told["predicted_downtime_ms"] <= 100
    goes_on(source, destination)


def test_wait_goes_on_until_the_user_allows_more(pair):
    source, destination = pair
    source.migrate(destination.listen())
    harness.until(lambda: ours(source).get("forecast", {}).get("outlook") == "stalls", "a verdict")
    assert source.status() == "active" and ours(source)["throttled_ms"] == 0
    source.set(max_bandwidth=0, avail_switchover_bandwidth=0, downtime_limit=2000)
    assert source.wait_status("completed", "failed") == "completed", source.migration()
    goes_on(source, destination)


def test_out_of_time_the_guest_is_moved_from_the_middle_of_a_round(pair):
    source, destination = pair
    source.set(x_ferry_timeout=700, x_ferry_on_timeout="pause", x_ferry_policy="qemu")
    source.migrate(destination.listen())
    assert source.wait_status("completed", "failed") == "completed", source.migration()
    assert ours(source)["outcome"] == "completed" and ours(source)["timed_out"] is True
    goes_on(source, destination)


def test_out_of_time_the_guest_stays(pair):
    source, destination = pair
    source.set(x_ferry_timeout=700)
    source.migrate(destination.listen())
    assert source.wait_status("completed", "failed") == "failed"
    assert ours(source)["outcome"] == "timed-out" and ours(source)["timed_out"] is True
    stays(source)


def test_the_policy_changes_while_it_runs(pair):
    source, destination = pair
    source.set(x_ferry_policy="qemu")
    source.migrate(destination.listen())
    harness.until(lambda: source.syncs() >= 2, "a round of QEMU's kind")
    assert ours(source)["policy"] == "qemu"
    with pytest.raises(Exception, match="x-ferry-on-stall"):
        source.set(x_ferry_on_stall="pause")  # which QEMU's policy knows nothing of
    source.set(x_ferry_policy="ferry", x_ferry_on_stall="pause")
    harness.until(lambda: ours(source)["policy"] == "ferry", "the other policy")
    source.set(max_bandwidth=0, avail_switchover_bandwidth=0, downtime_limit=2000)
    assert source.wait_status("completed", "failed") == "completed", source.migration()
    goes_on(source, destination)
