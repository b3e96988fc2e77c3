"""Destinations that cannot take the guest: the error names why, and the guest runs on."""
import subprocess

import pytest

import harness
from workload import Workload

LIGHT = "uniform,size=16M,rate=2000"


@pytest.mark.parametrize("wrong, words", [
    ({"memory": "32M"}, "pc.ram"),
    ({"memory": "128M"}, "pc.ram"),
    ({"smp": 2}, "cpu"),
    ({"options": ("-machine", "ferry-other")}, "machine"),
], ids=["less-ram", "more-ram", "other-smp", "other-machine"])
def test_wrong_destination_is_refused_by_name(vm, kvm, io, wrong, words):
    wrong = dict(wrong)
    source = vm("source", workload=LIGHT, environment=io)
    destination = vm("destination", *wrong.pop("options", ()), workload=LIGHT, incoming=True,
                     environment=io, **wrong)
    source.set(max_bandwidth=0)
    source.migrate(destination.listen())
    assert source.wait_status(*harness.ENDED) == "failed"
    assert source.migration()["error-desc"]
    assert destination.wait_exit() == 1
    assert words in destination.log().lower()
    assert destination.serial() == ""
    harness.until(source.running, "the guest to run on")
    Workload(source).advances()


def test_guest_moves_after_a_refusal(vm, kvm, io):
    source = vm("source", workload=LIGHT, environment=io)
    wrong = vm("wrong", workload=LIGHT, incoming=True, environment=io, memory="32M")
    source.set(max_bandwidth=0)
    source.migrate(wrong.listen())
    source.wait_status("failed")
    right = vm("right", workload=LIGHT, incoming=True, environment=io)
    source.migrate(right.listen())
    assert source.wait_status(*harness.ENDED) == "completed", source.migration()
    harness.until(right.running, "the guest to run at the destination")
    Workload(right).advances()


def test_stream_that_is_none_costs_one_connection(vm, kvm, io, directory):
    """Neither nonsense nor silence keeps the source out."""
    import socket
    source = vm("source", workload=LIGHT, environment=io)
    destination = vm("destination", workload=LIGHT, incoming=True, environment=io)
    uri = destination.listen()
    with socket.socket(socket.AF_UNIX) as nonsense, socket.socket(socket.AF_UNIX) as silence:
        silence.connect(uri.split(":", 1)[1])
        nonsense.connect(uri.split(":", 1)[1])
        nonsense.sendall(b"GET ")
        assert nonsense.recv(1) == b""
        source.migrate(uri)
        assert source.wait_status(*harness.ENDED) == "completed", source.migration()
        harness.until(destination.running, "the guest to run at the destination")


def test_stream_of_another_version_is_refused(vm, kvm, io, directory):
    import socket
    destination = vm("destination", workload=LIGHT, incoming=True, environment=io)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(destination.listen().split(":", 1)[1])
        client.sendall(b"QEVM\0\0\0\2")
        assert destination.wait_exit() == 1
    assert destination.serial() == ""


def test_unknown_option_is_a_usage_error():
    done = subprocess.run([harness.PROGRAM, "-no-such-option"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == (1 if harness.IS_QEMU else 2)
    assert "no-such-option" in done.stderr
