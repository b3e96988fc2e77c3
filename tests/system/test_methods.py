"""The ways in which pages travel: a guest that writes throughout arrives whole by each of them, and
query-migrate says how much less travelled."""
import time

import pytest

import harness
from workload import Workload, whole

LOAD = "hot-cold,size=40M,rate=0,share=95,hot=4M"
UUID = "00112233-4455-6677-8899-aabbccddeeff"


def told(machine, way):
    """Sets one side up for @way."""
    capabilities = way.get("capabilities", [])
    if capabilities:
        machine.capability(*capabilities)
    if way.get("parameters"):
        machine.set(**way["parameters"])


def pair(vm, way, io, **more):
    source = vm("source", workload=LOAD, environment=io, **more)
    destination = vm("destination", workload=LOAD, incoming=True, environment=io)
    told(source, way)
    told(destination, way)
    source.capability("x-ferry-verify")
    harness.until(lambda: Workload(source).total() > 1000, "the guest to be busy")
    return source, destination


def travel(source, destination, uri=None, rounds=4):
    """At least that many rounds, then the switchover; what the source says in the end."""
    source.set(max_bandwidth=128 << 20, downtime_limit=0)
    source.migrate(destination.listen(uri))
    harness.until(lambda: source.syncs() >= rounds or source.ended(), "some rounds")
    source.set(max_bandwidth=0, downtime_limit=2000)
    assert source.wait_status(*harness.ENDED) == "completed", source.migration()
    said = source.migration()
    assert said["x-ferry"]["verified"] is True
    assert said["ram"]["dirty-sync-count"] >= rounds
    assert destination.wait_status(*harness.ENDED) == "completed"
    harness.until(destination.running, "the guest to run at the destination")
    whole(destination)
    return said


def multifd(channels, compression, **parameters):
    return {"capabilities": ["multifd"],
            "parameters": {"multifd_channels": channels, "multifd_compression": compression,
                           **parameters}}


def check_sums(ram):
    """QEMU's: what went over main before and after the pause, and over multifd's channels."""
    parts = ram["precopy-bytes"] + ram["downtime-bytes"] + ram["multifd-bytes"]
    assert parts == ram["transferred"]
    assert ram["normal"] + ram["duplicate"] > 0


def test_plain(vm, kvm, io):
    source, destination = pair(vm, {}, io)
    said = travel(source, destination)
    check_sums(said["ram"])
    assert said["ram"]["multifd-bytes"] == 0
    assert said["x-ferry"]["way"] == "plain"
    assert "xbzrle-cache" not in said and "compression" not in said


@pytest.mark.parametrize("compression", ["none", "zlib", "zstd"])
@pytest.mark.parametrize("channels", [1, 2, 4, 16])
def test_multifd(vm, kvm, channels, compression):
    source, destination = pair(vm, multifd(channels, compression), {})
    before = source.holds()
    said = travel(source, destination, uri="tcp:127.0.0.1:0" if channels == 2 else None)
    check_sums(said["ram"])
    ours = said["x-ferry"]
    assert (ours["way"], ours["multifd_channels"]) == ("multifd", channels)
    assert said["ram"]["multifd-bytes"] > said["ram"]["transferred"] * 0.9
    if compression == "none":
        assert "multifd" not in ours
        assert said["ram"]["multifd-bytes"] >= said["ram"]["normal-bytes"]
    else:  # the guest's pages hold little
        assert ours["multifd"]["ratio"] > 1.5
        assert said["ram"]["multifd-bytes"] < said["ram"]["normal-bytes"] / 1.5
    there = destination.migration()["x-ferry"]
    assert there.get("multifd") == ours.get("multifd")
    harness.until(lambda: source.holds() <= before, "the channels and their threads to be gone")


@pytest.mark.parametrize("detection", ["none", "legacy", "multifd"])
@pytest.mark.parametrize("way", [{}, multifd(2, "none"), multifd(3, "zstd")],
                         ids=["plain", "multifd", "multifd-zstd"])
def test_zero_page_detection(vm, kvm, way, detection):
    source, destination = pair(vm, way, {})
    source.set(zero_page_detection=detection)
    ram = travel(source, destination)["ram"]
    if detection == "none":
        assert ram["duplicate"] == 0
        assert ram["normal-bytes"] >= ram["total"]
    else:  # most of what is outside the guest's working set was never touched
        assert ram["duplicate"] > 3000
        # In packets they are named; else each has a record of 9 bytes on main.
        named = detection == "multifd" and way
        assert (ram["transferred"] - ram["multifd-bytes"] > ram["duplicate"] * 9) == (not named)


@pytest.mark.parametrize("levels", [(0, 0), (9, 19)], ids=["least", "most"])
@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_levels(vm, kvm, compression, levels):
    source, destination = pair(vm, multifd(2, compression, multifd_zlib_level=levels[0],
                                           multifd_zstd_level=levels[1]), {})
    travel(source, destination)


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_a_level_that_follows(vm, kvm, compression):
    source, destination = pair(vm, multifd(2, compression, x_ferry_compression="adaptive"), {})
    travel(source, destination)


def test_xbzrle(vm, kvm, io):
    source, destination = pair(vm, {"capabilities": ["xbzrle"]}, io)
    # Who waits until it pays to send a page, and then pauses the guest, sends few pages twice.
    source.set(xbzrle_cache_size=64 << 20, x_ferry_policy="fixed-rounds=5")
    said = travel(source, destination)
    check_sums(said["ram"])
    cache = said["xbzrle-cache"]
    assert said["x-ferry"]["way"] == "xbzrle"
    assert cache["cache-size"] == 64 << 20
    # A write of the guest is eight bytes; what was sent twice is in the cache.
    assert cache["pages"] > 100
    assert cache["bytes"] < cache["pages"] * 400
    assert 0 <= cache["cache-miss-rate"] <= 1
    assert cache["encoding-rate"] > 10 or cache["encoding-rate"] == 0
    assert cache["overflow"] <= cache["pages"]
    there = destination.migration()["x-ferry"]
    assert there["xbzrle"] == said["x-ferry"]["xbzrle"]


def test_xbzrle_with_a_small_cache(vm, kvm):
    source, destination = pair(vm, {"capabilities": ["xbzrle"]}, {})
    source.set(xbzrle_cache_size=1 << 20, x_ferry_policy="fixed-rounds=5")
    cache = travel(source, destination)["xbzrle-cache"]
    assert cache["cache-miss"] > 256


@pytest.mark.parametrize("also", [[], ["xbzrle"]], ids=["alone", "and-xbzrle"])
def test_compress(vm, kvm, also):
    source, destination = pair(vm, {"capabilities": ["compress", *also]}, {})
    said = travel(source, destination)
    check_sums(said["ram"])
    packed = said["compression"]
    assert packed["pages"] > 500
    assert packed["compressed-size"] < packed["pages"] * 4096 / 1.5
    assert packed["compression-rate"] > 1.5
    assert ("xbzrle-cache" in said) == bool(also)


def test_uuid_and_acknowledgement(vm, kvm):
    way = multifd(2, "none")
    way["capabilities"] += ["validate-uuid", "switchover-ack"]
    source = vm("source", "-uuid", UUID, workload=LOAD)
    destination = vm("destination", "-uuid", UUID, workload=LOAD, incoming=True)
    assert source.qmp("query-uuid") == {"UUID": UUID}
    told(source, way)
    told(destination, way)
    source.capability("x-ferry-verify")
    travel(source, destination)


@pytest.mark.parametrize("capabilities", [["validate-uuid"], ["multifd"]])
def test_a_guest_of_another_uuid_is_refused(vm, kvm, capabilities):
    source = vm("source", "-uuid", UUID, workload=LOAD)
    destination = vm("destination", "-uuid", UUID[:-1] + "e", workload=LOAD, incoming=True)
    for machine in (source, destination):
        machine.capability(*capabilities)
        machine.set(x_ferry_io_timeout_ms=2000)
    source.migrate(destination.listen())
    assert source.wait_status(*harness.ENDED) == "failed"
    whole(source)


def test_a_destination_that_never_acknowledges(vm, kvm):
    source, destination = pair(vm, {}, {})
    source.capability("switchover-ack")
    source.set(x_ferry_io_timeout_ms=1000)
    source.migrate(destination.listen())
    assert source.wait_status(*harness.ENDED) == "failed"
    assert "SWITCHOVER_ACK" in source.migration()["error-desc"]
    whole(source)


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_cancel(vm, directory, kvm, rng, count, compression):
    source = vm("source", workload=LOAD)
    told(source, multifd(4, compression))
    source.capability("pause-before-switchover")  # it never ends by itself
    source.set(max_bandwidth=128 << 20, downtime_limit=0)
    before = None
    for number in range(count(40) + 2):
        with harness.Vm(directory, f"destination{number}", workload=LOAD,
                        incoming=True) as destination:
            told(destination, multifd(4, compression))
            source.migrate(destination.listen())
            time.sleep(rng.choice([0, rng.uniform(0, 0.02), rng.uniform(0, 0.4)]))
            asked = time.monotonic()
            source.qmp("migrate_cancel")
            source.wait_status("cancelled")
            assert time.monotonic() - asked < 1  # the contract's bound
            harness.until(source.running, "the guest to run on")
        Workload(source).advances()
        if number == 1:
            before = source.holds()
    harness.until(lambda: source.holds() == before,
                  f"descriptors and threads {source.holds()} to be {before} again")
    whole(source)


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_destination_killed(vm, directory, kvm, rng, count, compression):
    source = vm("source", workload=LOAD)
    told(source, multifd(4, compression))
    source.capability("pause-before-switchover")  # it never ends by itself
    source.set(max_bandwidth=128 << 20, downtime_limit=0)
    for number in range(count(40)):
        with harness.Vm(directory, f"destination{number}", workload=LOAD,
                        incoming=True) as destination:
            told(destination, multifd(4, compression))
            source.migrate(destination.listen())
            time.sleep(rng.uniform(0, 0.5))
            destination.kill()
            assert source.wait_status(*harness.ENDED) == "failed"
            harness.until(source.running, "the guest to run on")
            whole(source)


@pytest.mark.parametrize("uri", ["exec:cat >/dev/null", "fd:7", "file:/dev/null"])
def test_one_connection_is_too_few(vm, kvm, uri):
    source = vm("source", workload=LOAD)
    source.capability("multifd")
    with pytest.raises(harness.QmpError, match="multifd"):
        source.migrate(uri)
    assert source.running()


@pytest.mark.parametrize("names", [["multifd", "xbzrle"], ["multifd", "compress"]])
def test_what_excludes_each_other_is_refused(vm, kvm, names):
    source = vm("source", workload=LOAD)
    with pytest.raises(harness.QmpError, match=names[1]):
        source.capability(*names)
    assert not any(c["state"] for c in source.qmp("query-migrate-capabilities")
                   if c["capability"] in names)
