"""Moving a guest by hand, as with QEMU: the same commands drive QEMU and ferry-vm. The guest is a
boot sector that writes memory for ever and prints the alphabet in order."""
import os
import string

import pytest

import harness

GUEST = os.environ.get("FERRY_GUEST", os.path.join(harness.BUILD, "tests", "guests", "letters.bin"))


def in_order(text):
    """The alphabet, over and over, begun at A and nothing lost or doubled."""
    return text == (string.ascii_uppercase * (len(text) // 26 + 1))[:len(text)]


def move(source, destination, uri):
    harness.until(lambda: len(source.serial()) > 3, "the guest to print")
    source.set(downtime_limit=2000)
    source.migrate(destination.listen(uri))
    assert source.wait_status("completed", "failed") == "completed", source.migration()
    harness.until(destination.running, "the guest to run at the destination")


@pytest.mark.parametrize("uri", [None, "tcp:127.0.0.1:0", "tcp:[::1]:0"], ids=["unix", "tcp", "tcp6"])
def test_guest_goes_on_where_it_stopped(vm, kvm, io, uri):
    if uri and "::1" in uri and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("no IPv6")
    source = vm("source", boot=GUEST, environment=io)
    destination = vm("destination", boot=GUEST, incoming=True, environment=io)
    assert destination.run_state() == "inmigrate"
    move(source, destination, uri)

    assert source.run_state() == "postmigrate" and not source.running()
    assert source.syncs() >= 2
    seen = len(destination.serial())
    harness.until(lambda: len(destination.serial()) > seen + 3, "the guest to print on")
    assert in_order(source.serial() + destination.serial())


def test_incoming_uri_on_the_command_line(vm, kvm, directory):
    uri = f"unix:{directory}/stream"
    source = vm("source", boot=GUEST)
    destination = vm("destination", "-incoming", uri, boot=GUEST)
    harness.until(lambda: len(source.serial()) > 3, "the guest to print")
    source.set(downtime_limit=2000)
    source.migrate(uri)
    source.wait_status("completed")
    harness.until(destination.running, "the guest to run at the destination")
    harness.until(lambda: destination.serial(), "the guest to print on")
    assert in_order(source.serial() + destination.serial())


def test_destination_started_with_S_waits_for_cont(vm, kvm):
    source = vm("source", boot=GUEST)
    destination = vm("destination", boot=GUEST, incoming=True, paused=True)
    harness.until(lambda: len(source.serial()) > 3, "the guest to print")
    source.set(downtime_limit=2000)
    source.migrate(destination.listen())
    source.wait_status("completed")
    harness.until(lambda: destination.run_state() != "inmigrate", "the state to arrive")
    assert not destination.running() and destination.serial() == ""
    destination.qmp("cont")
    harness.until(lambda: destination.serial(), "the guest to print on")
    assert in_order(source.serial() + destination.serial())


def test_paused_guest_arrives_paused(vm, kvm):
    source = vm("source", boot=GUEST)
    destination = vm("destination", boot=GUEST, incoming=True)
    harness.until(lambda: len(source.serial()) > 3, "the guest to print")
    source.qmp("stop")
    source.migrate(destination.listen())
    source.wait_status("completed")
    harness.until(lambda: destination.run_state() == "paused", "the paused guest")
    assert destination.serial() == ""
    destination.qmp("cont")
    harness.until(lambda: destination.serial(), "the guest to print on")
    assert in_order(source.serial() + destination.serial())


def test_nobody_listens(vm, kvm, directory):
    source = vm("source", boot=GUEST)
    try:
        source.migrate(f"unix:{directory}/nobody")
    except harness.QmpError as error:  # QEMU says this one at once
        assert harness.IS_QEMU and "nobody" in str(error)
    else:
        source.wait_status("failed")
        assert "nobody" in source.migration()["error-desc"]
    assert source.running()


def test_events_tell_the_states_in_order(vm, kvm):
    source = vm("source", boot=GUEST)
    destination = vm("destination", boot=GUEST, incoming=True)
    source.capability("events")
    source.set(downtime_limit=2000)
    harness.until(lambda: source.serial(), "the guest to print")
    source.migrate(destination.listen())
    source.wait_status("completed")
    states = [e["data"]["status"] for e in source.qmp.events if e["event"] == "MIGRATION"]
    assert [s for s in states if s in ("setup", "active", "completed")] == [
        "setup", "active", "completed"]
    assert [e["event"] for e in source.qmp.events if e["event"] in ("STOP", "RESUME")] == ["STOP"]
