"""QEMU -> ferry receive -> snapshot -> ferry send -> QEMU: the guest goes on, by every way in."""
import shutil
import struct

import pytest

import cases
import ferry
import qemu

pytestmark = pytest.mark.skipif(not shutil.which(cases.INSTALLED.path), reason="no QEMU")
METHODS = qemu.SINGLE + qemu.MULTIFD


def everything():
    for pair in cases.PAIRS:
        for accel in ("kvm", "tcg"):
            for method in METHODS:
                if not qemu.has_method(pair[0], method):
                    continue
                for medium in ("unix", "tcp") if method.channels else ("unix", "tcp", "exec", "fd"):
                    for return_path in (True, False):
                        if not (return_path and medium == "exec"):  # one way
                            yield pair, accel, method, medium, return_path


def brief(_, accel, method, medium, return_path):
    if accel == "tcg":
        return return_path and medium == "tcp" and method.name in ("plain", "multifd_zstd_4")
    if method is qemu.PLAIN:
        return return_path == (medium in ("tcp", "fd"))
    return return_path and medium == "unix" and method.channels in (0, 2)


def move_on(vm, directory, snapshot, hashes, source, destination_program, machine, accel, strictly):
    """The guest in @snapshot has this RAM and goes on where @source stopped."""
    destination = vm("destination", destination_program, machine=machine, accel=accel,
                     incoming="defer", paused=True)
    ferry.send(directory, snapshot, destination)
    ferry.same_ram(hashes, destination)
    destination.qmp("cont")
    destination.prints_on()
    qemu.goes_on(source, destination, strictly=strictly)


@cases.rows("pair, accel, method, medium, return_path", list(everything()), brief)
def test_guest_goes_on_from_what_was_received(vm, directory, pair, accel, method, medium,
                                              return_path):
    machine = cases.machine_of(*pair)
    source = vm("source", pair[0], machine=machine, accel=accel)
    source.prints_on()
    snapshot, result = ferry.receive(directory, source, method, medium, return_path)
    strictly = accel == "kvm" or not pair[0].loses_dirty_pages_under_tcg
    if strictly:
        ferry.same_ram(ferry.hashes(result), source)
    assert result["machine"] == machine
    move_on(vm, directory, snapshot, ferry.hashes(result), source, pair[1], machine, accel,
            strictly)


def bitmap_of(snapshot, block, length):
    """A bit per page, as QEMU finds them."""
    with open(snapshot, "rb") as f:
        data = f.read()
    entry = bytes([len(block)]) + block.encode() + struct.pack(">Q", length)
    version, page_size, offset, _ = struct.unpack_from(">IQQQ", data,
                                                       data.index(entry) + len(entry))
    assert (version, page_size) == (1, 4096)
    pages = length // page_size
    return [data[offset + i // 8] >> i % 8 & 1 for i in range(pages)]


def test_snapshot_leaves_nothing_of_the_readers_own_firmware(vm, directory):
    """A QEMU that loads it has its own ACPI tables in place, and writes only pages with a bit."""
    source = vm("source", cases.PAIRS[0][0])
    source.prints_on()
    snapshot, result = ferry.receive(directory, source, qemu.PLAIN, "unix")
    length = {block["name"]: block["length_bytes"] for block in result["blocks"]}
    for block in ("/rom@etc/acpi/tables", "pc.bios", "pc.rom"):
        assert all(bitmap_of(snapshot, block, length[block])), block
    assert not all(bitmap_of(snapshot, "pc.ram", length["pc.ram"]))
