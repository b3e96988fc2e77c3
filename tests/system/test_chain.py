"""Many migrations of one busy guest: every page arrives, every time."""
import pytest

import harness
from workload import Workload


def hop(source, destination, rng):
    """One migration of at least three rounds, with the hashes of both memories compared."""
    source.capability("x-ferry-verify")
    source.set(max_bandwidth=rng.choice([64, 128, 256]) << 20, downtime_limit=0)
    source.migrate(destination.listen(rng.choice([None, "tcp:127.0.0.1:0"])))
    harness.until(lambda: source.syncs() >= 3 or source.status() in harness.ENDED, "three rounds")
    source.set(downtime_limit=2000, max_bandwidth=0)
    assert source.wait_status(*harness.ENDED) == "completed", source.migration()
    assert source.syncs() >= 3
    assert source.migration()["x-ferry"]["verified"] is True
    harness.until(destination.running, "the guest to run at the destination")


@pytest.mark.parametrize("accel", ["kvm", "kvm,dirty-ring-size=4096", "process"])
@pytest.mark.parametrize("program", ["sweep", "uniform"])
def test_guest_keeps_every_write_over_many_hops(vm, io, rng, count, accel, program, request):
    if accel.startswith("kvm"):
        request.getfixturevalue("kvm")
    load = f"{program},size=64M,rate=0"
    here = vm("hop0", workload=load, memory="80M", smp=2, accel=accel, environment=io)
    harness.until(lambda: Workload(here).total() > 20000, "the guest to be busy")
    for number in range(1, count(20) + 1):
        there = vm(f"hop{number}", workload=load, memory="80M", smp=2, accel=accel, incoming=True,
                   environment=io)
        hop(here, there, rng)
        left = Workload(here)
        left.check()
        arrived = Workload(there)
        arrived.advances()
        assert all(now >= then for now, then in zip(arrived.counters(), left.counters()))
        there.qmp("stop")
        arrived.check()
        there.qmp("cont")
        here.kill()
        here = there


def test_migrations_one_after_another(vm, kvm, io, rng, count):
    """Fresh pairs: nothing depends on what a process did before."""
    for number in range(count(50)):
        load = rng.choice(["sweep", "hot-cold", "zipf"]) + ",size=32M,rate=20000"
        with harness.Vm(scratch := harness.scratch(), f"source{number}", workload=load,
                        environment=io) as source, \
             harness.Vm(scratch, f"destination{number}", workload=load, incoming=True,
                        environment=io) as destination:
            harness.until(lambda s=source: Workload(s).total() > 5000, "the guest to be busy")
            hop(source, destination, rng)
            Workload(destination).advances()
            destination.qmp("stop")
            Workload(destination).check()
        harness.remove(scratch)
