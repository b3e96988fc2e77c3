"""Cancelling at random moments: answered at once, and as if nothing had been."""
import time

import harness
from workload import Workload

LOAD = "uniform,size=48M,rate=0"


def test_cancel_at_any_moment(vm, directory, kvm, io, rng, count):
    source = vm("source", workload=LOAD, environment=io)
    harness.until(lambda: Workload(source).total() > 2000, "the guest to be busy")
    source.set(max_bandwidth=128 << 20, downtime_limit=0)
    before = None
    for number in range(count(100) + 2):
        with harness.Vm(directory, f"destination{number}", workload=LOAD, incoming=True,
                        environment=io) as destination:
            source.migrate(destination.listen())
            time.sleep(rng.choice([0, rng.uniform(0, 0.02), rng.uniform(0, 0.5)]))
            asked = time.monotonic()
            source.qmp("migrate_cancel")
            source.wait_status("cancelled")
            assert time.monotonic() - asked < 1  # the contract's bound
            harness.until(source.running, "the guest to run on")
            # It gives up, unless the cancel came before the connection.
            harness.until(lambda d=destination: not d.alive() or d.untouched(), "the end there")
            assert destination.process.poll() in (None, 1)
            assert destination.serial() == ""
        Workload(source).advances()
        if number == 1:  # caches are warm now
            before = source.holds(), source.resident_bytes()
    harness.until(lambda: source.holds() == before[0],
                  f"descriptors and threads {source.holds()} to be {before[0]} again")
    assert source.resident_bytes() - before[1] < 8 << 20

    destination = vm("last", workload=LOAD, incoming=True, environment=io)
    source.set(max_bandwidth=0, downtime_limit=2000)
    source.migrate(destination.listen())
    assert source.wait_status(*harness.ENDED) == "completed", source.migration()
    harness.until(destination.running, "the guest to run at the destination")
    Workload(destination).advances()


def test_cancel_while_the_destination_is_silent(vm, directory, kvm, io):
    """Somebody accepts and never reads: only the cancel ends it."""
    import socket
    source = vm("source", workload=LOAD, environment=io)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{directory}/silent")
        silent.listen(1)
        source.migrate(f"unix:{directory}/silent")
        peer, _ = silent.accept()
        with peer:
            asked = time.monotonic()
            source.qmp("migrate_cancel")
            source.wait_status("cancelled")
            assert time.monotonic() - asked < 1
    harness.until(source.running, "the guest to run on")
    Workload(source).advances()


def test_cancel_with_nothing_to_cancel_is_fine(vm, kvm):
    source = vm("source", workload=LOAD)
    source.qmp("migrate_cancel")
    assert source.status() == "none" and source.running()
