"""What is not spoken, or not allowed, is refused by name: nothing is kept, and the source's guest
runs on where it was."""
import os
import shutil

import pytest

import cases
import ferry
import qemu
from qemu import harness

pytestmark = pytest.mark.skipif(not shutil.which(cases.INSTALLED.path), reason="no QEMU")
SOURCE = cases.PAIRS[0][0]


def start(vm, *options, **more):
    source = vm("source", SOURCE, *options, **more)
    source.prints_on()
    return source


def refused(directory, source, *words, method=qemu.PLAIN, return_path=True, judge_source=True):
    """The migration of @source fails on both sides; returns what ferry said of it."""
    snapshot = os.path.join(directory, "snapshot")
    method.prepare(source, return_path)
    receiver = ferry.Ferry(directory, "receive", "--output", snapshot, *words,
                           f"unix:{directory}/refusing")
    try:
        source.set(downtime_limit=20000)
        source.migrate(receiver.event("listening")["uri"])
        result = receiver.finish(1)
        if judge_source:
            assert source.wait_status("failed", "completed") == "failed"
            assert source.running()
            source.prints_on()
            qemu.goes_on(source)
        assert [name for name in os.listdir(directory) if name.startswith("snapshot")] == []
        return result["error"]
    finally:
        receiver.kill()


@pytest.mark.parametrize("return_path", [True, False], ids=["rp", "no-rp"])
def test_postcopy(vm, directory, return_path):
    source = start(vm)
    source.capability("postcopy-ram")
    assert "postcopy" in refused(directory, source, return_path=return_path)


def test_ignore_shared(vm, directory):
    source = start(vm, "-object", f"memory-backend-file,id=pc.ram,size=32M,share=on,"
                   f"mem-path={directory}/shared", "-machine", "memory-backend=pc.ram")
    source.capability("x-ignore-shared")
    assert "x-ignore-shared" in refused(directory, source)


def test_block_migration(vm, directory):
    if SOURCE.version >= (9, 1):
        pytest.skip("block migration went with QEMU 9.1")
    with open(f"{directory}/disk", "wb") as f:
        f.truncate(1 << 20)
    source = start(vm, "-drive", f"file={directory}/disk,format=raw,if=ide")
    source.capability("block")
    assert "block migration" in refused(directory, source)


def test_dirty_bitmaps(vm, directory):
    with open(f"{directory}/disk", "wb") as f:
        f.truncate(1 << 20)
    source = start(vm, "-blockdev", f"driver=file,node-name=disk,filename={directory}/disk",
                   "-device", "ide-hd,drive=disk")
    source.qmp("block-dirty-bitmap-add", node="disk", name="changes")
    source.capability("dirty-bitmaps")
    said = refused(directory, source)
    assert "dirty-bitmap" in said or "postcopy" in said  # it advises of one to carry the other


def test_more_ram_than_allowed(vm, directory):
    said = refused(directory, start(vm), "--max-ram", "16M")
    assert "16" in said and "RAM" in said


def test_another_uuid(vm, directory):
    source = start(vm, "-uuid", "01234567-89ab-cdef-0123-456789abcdef")
    source.capability("validate-uuid")
    said = refused(directory, source, "--uuid", "76543210-89ab-cdef-0123-456789abcdef")
    assert "uuid" in said.lower()


def test_multifd_that_was_not_expected(vm, directory):
    # QEMU 7.2, refused while its channels connect, now and then hangs with its monitor.
    refused(directory, start(vm), method=qemu.multifd("none", 2),
            judge_source=SOURCE.version >= (8, 0))


def test_fewer_channels_than_expected(vm, directory):
    said = refused(directory, start(vm), "--channels", "4", "--timeout", "1s",
                   method=qemu.multifd("none", 2))
    assert "multifd channels 2, 3" in said


def test_another_compression_than_expected(vm, directory):
    said = refused(directory, start(vm), "--channels", "2", "--multifd-compression", "zlib",
                   method=qemu.multifd("zstd", 2))
    assert "zlib" in said and "zstd" in said


@pytest.mark.parametrize("method", [qemu.PLAIN, qemu.multifd("none", 2), qemu.multifd("zstd", 4)],
                         ids=cases.spelled)
def test_receiver_that_dies(vm, directory, method):
    source = start(vm)
    method.prepare(source)
    source.set(downtime_limit=1, max_bandwidth=qemu.MIB)
    channels = ["--channels", str(method.channels)] if method.channels else []
    receiver = ferry.Ferry(directory, "receive", "--output", f"{directory}/snapshot", *channels,
                           f"unix:{directory}/dying")
    source.migrate(receiver.event("listening")["uri"])
    harness.until(lambda: source.migration().get("ram", {}).get("transferred", 0) > 100000, "RAM")
    receiver.kill()
    assert source.wait_status("failed", "completed") == "failed"
    assert source.running() and not os.path.exists(f"{directory}/snapshot")
    source.prints_on()
    qemu.goes_on(source)


def test_another_machine_than_the_destinations(vm, directory):
    source = start(vm)
    snapshot, _ = ferry.receive(directory, source, qemu.PLAIN, "unix")
    destination = vm("destination", SOURCE, machine="pc-q35-" + SOURCE.label, incoming="defer")
    sender = ferry.Ferry(directory, "send", "--input", snapshot, "--peer", SOURCE.label,
                         destination.listen())
    try:
        assert sender.finish(1)["error"]
        assert destination.wait_exit() == 1
        assert "pc-i440fx" in destination.log()
    finally:
        sender.kill()
