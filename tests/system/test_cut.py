"""The link breaks at a chosen byte, in either direction, at either side. Never do two guests run,
and nothing is lost: it runs on one side, or it is in doubt and whole on both."""
import pytest

import harness
from workload import Workload, whole

LOAD = "sweep,size=12M,rate=3000"
SMALL = "sweep,size=12M,rate=20"  # next to nothing: every stream is as long as another


def pair(directory, io, number, load=LOAD):
    source = harness.Vm(directory, f"source{number}", workload=load, memory="32M", environment=io)
    destination = harness.Vm(directory, f"destination{number}", workload=load, memory="32M",
                             incoming=True, environment=io)
    harness.until(lambda: Workload(source).total() > (500 if load == LOAD else 5), "the guest to write")
    source.set(max_bandwidth=0, x_ferry_io_timeout_ms=2000)
    destination.set(x_ferry_io_timeout_ms=2000)
    return source, destination


@pytest.fixture(scope="module")
def stream_bytes():
    """How long the stream of such a migration is, about."""
    path = harness.scratch()
    source, destination = pair(path, {}, 0)
    with source, destination:
        source.migrate(destination.listen())
        assert source.wait_status(*harness.ENDED) == "completed", source.migration()
        transferred = source.migration()["ram"]["transferred"]
    harness.remove(path)
    return transferred


def position(rng, forwards, total):
    """Over the whole stream, and densely where the handover is."""
    if not forwards:
        return rng.randrange(0, 48)  # a few messages of eight bytes come back
    if rng.random() < 0.4:
        return rng.randrange(total)
    return max(0, total - rng.choice([rng.randrange(256), rng.randrange(1 << 16)]))


def outcome(source, destination):
    """Statuses once both have ended, with proof that at most one guest runs."""
    here = source.wait_status(*harness.ENDED)
    harness.until(lambda: not destination.alive() or destination.ended() or
                  here == "failed" and destination.untouched(), "the destination's end")
    if destination.untouched():  # cut before its first bytes came: it waits for another source
        return here, "gone", [source.running(), destination.running()]
    if destination.status_if_alive() == "failed":
        destination.wait_exit()  # it says so, then goes
    there = destination.status_if_alive() or "gone"
    running = [source.running(), there != "gone" and destination.running()]
    assert running.count(True) <= 1, (here, there, running)
    return here, there, running




@pytest.mark.parametrize("side, direction", [("source", "write"), ("source", "read"),
                                             ("destination", "read"), ("destination", "write")])
def test_cut_link_never_makes_two(directory, kvm, io, rng, count, stream_bytes, side, direction):
    forwards = (side, direction) in [("source", "write"), ("destination", "read")]
    for number in range(count(50)):
        where = position(rng, forwards, stream_bytes)
        print(f"cut,{direction},{where} at the {side}")
        source, destination = pair(directory, io, number)
        with source, destination:
            (source if side == "source" else destination).set(
                x_ferry_fault=f"cut,{direction},{where}")
            source.migrate(destination.listen())
            here, there, running = outcome(source, destination)
            if here == "completed":
                assert running == [False, True]
                whole(destination)
            elif here == "failed":
                assert running == [True, False] and there in ("gone", "x-ferry-in-doubt")
                assert destination.serial() == ""
                whole(source)
            else:
                assert here == "x-ferry-in-doubt" and not running[0]
                settle_doubt(source, destination, there, running)


def settle_doubt(source, destination, there, running):
    """The operator looks at the other side and decides; then exactly one guest runs."""
    if running[1] or there == "completed":
        source.qmp("x-ferry-resolve", owner="there")
        whole(destination)
        assert not source.running()
    elif there == "x-ferry-in-doubt":
        source.qmp("x-ferry-resolve", owner="there")
        destination.qmp("x-ferry-resolve", owner="here")
        harness.until(destination.running, "the guest to run at the destination")
        whole(destination)
        assert not source.running()
    else:
        assert there == "gone"
        source.qmp("x-ferry-resolve", owner="here")
        harness.until(source.running, "the guest to run on")
        whole(source)


@pytest.mark.parametrize("kind", ["stall", "black-hole"])
def test_silent_link_ends_by_the_deadline(directory, kvm, io, rng, stream_bytes, kind):
    source, destination = pair(directory, io, 0)
    with source, destination:
        source.set(x_ferry_fault=f"{kind},write,{rng.randrange(stream_bytes // 2)}")
        source.migrate(destination.listen())
        here, _, running = outcome(source, destination)
        assert here == "failed" and running == [True, False]
        whole(source)


def test_single_bytes_arrive_whole(directory, kvm, io, rng):
    """Short writes near the end, where everything matters most."""
    source, destination = pair(directory, io, 0, SMALL)
    with source, destination:
        source.capability("x-ferry-verify")
        source.set(downtime_limit=60000)  # byte by byte is slow on a busy host
        source.set(x_ferry_fault=f"short,write,{rng.randrange(70000, 110000)}")
        source.migrate(destination.listen())
        assert source.wait_status(*harness.ENDED) == "completed", source.migration()
        assert source.migration()["x-ferry"]["verified"] is True
        harness.until(destination.running, "the guest to run at the destination")
        whole(destination)
