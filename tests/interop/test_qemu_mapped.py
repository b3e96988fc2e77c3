"""mapped-ram files: QEMU's own is sent by ferry, ferry's is loaded by QEMU. Of QEMU 9.0 and later."""
import os

import pytest

import cases
import ferry
import qemu

pytestmark = pytest.mark.skipif(all(p.version < (9, 0) for pair in cases.PAIRS for p in pair),
                                reason="mapped-ram is of QEMU 9.0: QEMU_NEWER, tests/interop/newer")

MAPPED = qemu.Method("mapped_ram", ("mapped-ram",))
MAPPED_MULTIFD = qemu.Method("mapped_ram_multifd_4", ("mapped-ram", "multifd"),
                             {"multifd_channels": 4})
MAPPED_METHODS = pytest.mark.parametrize("method", [MAPPED, MAPPED_MULTIFD], ids=cases.spelled)
WRITERS = [pair for pair in cases.PAIRS if pair[0].version >= (9, 0)]
READERS = [pair for pair in cases.PAIRS if pair[1].version >= (9, 0)]


def goes_on_from(vm, destination, hashes, source):
    ferry.same_ram(hashes, destination)
    destination.qmp("cont")
    destination.prints_on()
    qemu.goes_on(source, destination)


@MAPPED_METHODS
@pytest.mark.parametrize("pair", WRITERS, ids=cases.spelled)
def test_a_file_of_qemu_is_sent(vm, directory, pair, method):
    machine = cases.machine_of(*pair)
    path = os.path.join(directory, "mapped")
    source = vm("source", pair[0], machine=machine)
    source.prints_on()
    method.prepare(source, return_path=False)
    source.migrate_in_rounds("file:" + path, qemu.PLAIN)
    source.wait_completed()

    destination = vm("destination", pair[1], machine=machine, incoming="defer", paused=True)
    ferry.send(directory, path, destination, words=["--peer", pair[1].label])
    [hashes] = [{name: next(iter(one)) for name, one in source.sha256().items()}]
    goes_on_from(vm, destination, hashes, source)


@MAPPED_METHODS
@pytest.mark.parametrize("pair", READERS, ids=cases.spelled)
def test_a_file_of_ferry_is_loaded(vm, directory, pair, method):
    machine = cases.machine_of(*pair)
    source = vm("source", pair[0], machine=machine)
    source.prints_on()
    path, result = ferry.receive(directory, source, qemu.PLAIN, "unix")
    ferry.same_ram(ferry.hashes(result), source)

    destination = vm("destination", pair[1], machine=machine, incoming="defer", paused=True)
    method.prepare(destination, return_path=False)
    destination.qmp("migrate-incoming", uri="file:" + path)
    destination.wait_status("completed")
    goes_on_from(vm, destination, ferry.hashes(result), source)


@pytest.mark.parametrize("pair", WRITERS, ids=cases.spelled)
def test_a_plain_file_of_qemu_is_received(vm, directory, pair):
    machine = cases.machine_of(*pair)
    stream = os.path.join(directory, "stream")
    source = vm("source", pair[0], machine=machine)
    source.prints_on()
    source.migrate_in_rounds("file:" + stream, qemu.PLAIN)
    source.wait_completed()
    snapshot = os.path.join(directory, "snapshot")
    result = ferry.Ferry(directory, "receive", "--output", snapshot, "--hash",
                         "file:" + stream).finish()
    ferry.same_ram(ferry.hashes(result), source)
    destination = vm("destination", pair[1], machine=machine, incoming="defer", paused=True)
    ferry.send(directory, snapshot, destination, words=["--peer", pair[1].label])
    goes_on_from(vm, destination, ferry.hashes(result), source)


@pytest.mark.parametrize("pair", READERS, ids=cases.spelled)
def test_a_plain_file_of_ferry_is_loaded(vm, directory, pair):
    machine = cases.machine_of(*pair)
    source = vm("source", pair[0], machine=machine)
    source.prints_on()
    snapshot, result = ferry.receive(directory, source, qemu.PLAIN, "unix")
    stream = os.path.join(directory, "stream")
    ferry.Ferry(directory, "send", "--input", snapshot, "--peer", pair[1].label,
                "file:" + stream).finish()
    destination = vm("destination", pair[1], machine=machine, incoming="defer", paused=True)
    destination.qmp("migrate-incoming", uri="file:" + stream)
    destination.wait_status("completed")
    goes_on_from(vm, destination, ferry.hashes(result), source)
