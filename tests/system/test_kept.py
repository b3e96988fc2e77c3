"""A guest of ferry-vm, kept in a file and sent on from there: `ferry receive`, `ferry send`."""
import json
import os
import subprocess

import pytest

import harness
from test_by_hand import GUEST, in_order

FERRY = os.path.join(harness.BUILD, "tools", "ferry")


def receive(uri, *options):
    process = subprocess.Popen([FERRY, "receive", uri, "--json", *options],
                               stdout=subprocess.PIPE, text=True)
    return process, json.loads(process.stdout.readline())["uri"]


def ferry(*words):
    done = subprocess.run([FERRY, *words], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("uri", ["unix:{directory}/kept", "tcp:127.0.0.1:0"], ids=["unix", "tcp"])
def test_a_guest_goes_on_from_a_file(vm, kvm, directory, uri):
    snapshot = f"{directory}/snapshot"
    source = vm("source", boot=GUEST)
    keeper, at = receive(uri.format(directory=directory), "--output", snapshot)
    harness.until(lambda: len(source.serial()) > 3, "the guest to print")
    source.set(downtime_limit=2000)
    source.migrate(at)
    assert source.wait_status("completed", "failed") == "completed", source.migration()
    assert keeper.wait(100) == 0 and not source.running()
    said = json.loads(keeper.stdout.read().splitlines()[-1])
    assert said["from_ferry"] is True and said["run_state"] == "running"

    destination = vm("destination", boot=GUEST, incoming=True)
    sent = json.loads(ferry("send", "--input", snapshot, "--peer", "ferry", destination.listen(),
                            "--json").splitlines()[-1])
    assert sent["to_ferry"] is True and sent["confirmed"] is True
    harness.until(destination.running, "the guest to run at the destination")
    seen = len(destination.serial())
    harness.until(lambda: len(destination.serial()) > seen + 3, "the guest to print on")
    assert in_order(source.serial() + destination.serial())


def test_a_kept_guest_can_be_sent_paused(vm, kvm, directory):
    snapshot = f"{directory}/snapshot"
    source = vm("source", boot=GUEST)
    keeper, at = receive(f"unix:{directory}/kept", "--output", snapshot)
    harness.until(lambda: len(source.serial()) > 3, "the guest to print")
    source.set(downtime_limit=2000)
    source.migrate(at)
    assert source.wait_status("completed", "failed") == "completed", source.migration()
    assert keeper.wait(100) == 0

    destination = vm("destination", boot=GUEST, incoming=True)
    ferry("send", "--input", snapshot, "--peer", "ferry", destination.listen(), "--start", "paused")
    destination.wait_status("completed", "failed")  # the word comes before the monitor knows
    harness.until(lambda: destination.run_state() != "inmigrate", "the guest to be there")
    assert destination.run_state() == "paused" and destination.serial() == ""
    destination.qmp("cont")
    harness.until(lambda: len(destination.serial()) > 3, "the guest to print on")
    assert in_order(source.serial() + destination.serial())
