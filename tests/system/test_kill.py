"""A side that dies at a random moment. The guest survives on the other side or was never there."""
import time

import harness
from workload import Workload, whole

LOAD = "sweep,size=48M,rate=0"


def begin(directory, io, rng, number):
    """A migration that a death may hit anywhere: setup, rounds, the handover, or after it."""
    source = harness.Vm(directory, f"source{number}", workload=LOAD, environment=io)
    destination = harness.Vm(directory, f"destination{number}", workload=LOAD, incoming=True,
                             environment=io)
    harness.until(lambda: Workload(source).total() > 2000, "the guest to be busy")
    # Without a budget the rounds go on until the kill; with one, it falls near the handover.
    source.set(max_bandwidth=256 << 20, downtime_limit=rng.choice([0, 2000]))
    source.migrate(destination.listen())
    return source, destination


def settle(rng):
    time.sleep(rng.choice([rng.uniform(0, 0.05), rng.uniform(0, 0.9)]))


def test_destination_killed(directory, kvm, io, rng, count):
    for number in range(count(100)):
        source, destination = begin(directory, io, rng, number)
        with source, destination:
            settle(rng)
            destination.kill()
            status = source.wait_status(*harness.ENDED)
            if status == "failed":
                harness.until(source.running, "the guest to run on")
                whole(source)
            else:  # the guest had left, or may have
                assert status in ("completed", "x-ferry-in-doubt") and not source.running()
            if status == "x-ferry-in-doubt":
                source.qmp("x-ferry-resolve", owner="here")
                harness.until(source.running, "the guest to run on")
                whole(source)


def has_it(destination):
    """Whether the guest is there. One that says "failed" is about to exit."""
    return destination.status_if_alive() in ("completed", "x-ferry-in-doubt")


def test_source_killed(directory, kvm, io, rng, count):
    for number in range(count(100)):
        source, destination = begin(directory, io, rng, number)
        with source, destination:
            settle(rng)
            left = Workload(source)
            source.kill()
            # It gives up, or owns the guest, or has the whole guest and does not know. It waits on
            # when the source died before it connected.
            harness.until(lambda d=destination: not d.alive() or has_it(d) or d.untouched(),
                          "an end")
            if has_it(destination):
                if destination.status() == "x-ferry-in-doubt":
                    assert not destination.running() and destination.serial() == ""
                    destination.qmp("x-ferry-resolve", owner="here")
                harness.until(destination.running, "the guest to run at the destination")
                assert all(there >= here for there, here in
                           zip(Workload(destination).counters(), left.counters()))
                whole(destination)
            else:
                assert destination.process.poll() in (None, 1)
                assert destination.serial() == ""
