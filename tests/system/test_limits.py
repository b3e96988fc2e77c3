"""Limits that change while a migration runs, and the pause before the switchover."""
import harness
from workload import Workload

BUSY = "uniform,size=48M,rate=0"


def busy_pair(vm, io, **more):
    source = vm("source", workload=BUSY, environment=io, **more)
    destination = vm("destination", workload=BUSY, incoming=True, environment=io, **more)
    harness.until(lambda: Workload(source).total() > 50000, "the guest to be busy")
    return source, destination


def test_downtime_limit_and_bandwidth_change_while_running(vm, kvm, io):
    source, destination = busy_pair(vm, io)
    source.set(max_bandwidth=64 << 20, downtime_limit=1)
    source.migrate(destination.listen())
    harness.until(lambda: source.syncs() >= 3, "rounds that cannot converge")
    assert source.status() == "active"
    source.set(max_bandwidth=0, downtime_limit=2000)
    assert source.wait_status("completed", "failed") == "completed", source.migration()
    assert source.migration()["downtime"] >= 0
    harness.until(destination.running, "the guest to run at the destination")


def test_pause_before_switchover_waits_for_continue(vm, kvm, io):
    source, destination = busy_pair(vm, io)
    source.capability("pause-before-switchover")
    source.set(max_bandwidth=0, downtime_limit=2000)
    source.migrate(destination.listen())
    source.wait_status("pre-switchover")
    assert not source.running() and not destination.running()
    stood = Workload(source).counters()
    assert Workload(source).counters() == stood
    source.qmp("migrate-continue", state="pre-switchover")
    assert source.wait_status("completed", "failed") == "completed", source.migration()
    harness.until(destination.running, "the guest to run at the destination")
    Workload(destination).advances()
    assert all(there >= here for there, here in zip(Workload(destination).counters(), stood))


def test_cancel_in_pre_switchover_resumes_the_guest(vm, kvm, io):
    source, destination = busy_pair(vm, io)
    source.capability("pause-before-switchover")
    source.set(max_bandwidth=0, downtime_limit=2000)
    source.migrate(destination.listen())
    source.wait_status("pre-switchover")
    source.qmp("migrate_cancel")
    source.wait_status("cancelled")
    harness.until(source.running, "the guest to run on")
    Workload(source).advances()
    assert destination.wait_exit() != 0


def test_auto_converge_throttles_and_ends_at_full_speed(vm, kvm, io):
    source, destination = busy_pair(vm, io)
    free = Workload(source).rate()
    source.capability("auto-converge")
    source.set(max_bandwidth=32 << 20, downtime_limit=1, cpu_throttle_initial=80,
               cpu_throttle_increment=10, x_ferry_policy="qemu")
    source.migrate(destination.listen())
    harness.until(lambda: source.migration().get("cpu-throttle-percentage", 0) >= 80, "a throttle")
    harness.until(lambda: Workload(source).rate() < free * 0.6, "a slower guest")
    source.qmp("migrate_cancel")
    source.wait_status("cancelled")
    assert source.migration().get("cpu-throttle-percentage", 0) == 0
    harness.until(lambda: Workload(source).rate() > free * 0.6, "full speed again")
