"""The yardstick itself: QEMU to QEMU in every way that Ferry is tried in, judged by the same means.
What fails here is no fault of Ferry's."""
import shutil

import pytest

import cases
import qemu

pytestmark = pytest.mark.skipif(not shutil.which(cases.INSTALLED.path), reason="no QEMU")


@cases.rows("pair, accel, method",
            [(pair, accel, method) for pair in cases.PAIRS for accel in ("kvm", "tcg")
             for method in qemu.SINGLE + qemu.MULTIFD
             if all(qemu.has_method(program, method) for program in pair)],
            lambda pair, accel, method: accel == "kvm" and method is qemu.PLAIN)
def test_guest_goes_on(vm, pair, accel, method):
    machine = cases.machine_of(*pair)
    source = vm("source", pair[0], machine=machine, accel=accel)
    destination = vm("destination", pair[1], machine=machine, accel=accel, incoming="defer",
                     paused=True)
    method.prepare(source)
    method.prepare(destination)
    source.prints_on()
    source.migrate_in_rounds(destination.listen(), method)
    source.wait_completed()
    qemu.harness.until(lambda: destination.run_state() == "paused", "the guest to arrive")

    strictly = accel == "kvm" or not pair[0].loses_dirty_pages_under_tcg
    if strictly:
        sent, arrived = source.sha256(), destination.sha256()
        assert sent.keys() == arrived.keys()
        assert not [name for name in sent if not sent[name] & arrived[name]]
    destination.qmp("cont")
    destination.prints_on()
    qemu.goes_on(source, destination, strictly=strictly)


def test_memory_is_read_as_pmemsave_does(vm):
    with vm("guest", cases.INSTALLED, "-S", accel="tcg") as guest:
        guest.qmp("cont")
        guest.prints_on()
        guest.qmp("stop")
        used, reserved, address = guest.ram_blocks()["pc.ram"]
        [address] = guest.candidates("pc.ram", used, reserved, address)
        with open(f"/proc/{guest.process.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address + qemu.MIB)
            assert memory.read(used - qemu.MIB) == guest.pmemsave(qemu.MIB, used - qemu.MIB)
