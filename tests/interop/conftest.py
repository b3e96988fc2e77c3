"""Fixtures of the tests against real QEMUs."""
import os

import pytest

pytest.register_assert_rewrite("ferry", "qemu")
import qemu  # noqa: E402


@pytest.fixture
def directory():
    path = qemu.harness.scratch()
    yield path
    qemu.harness.remove(path)


@pytest.fixture
def vm(directory):
    """vm(name, program, ...) starts one; all are killed at the end."""
    started = []

    def start(name, program, *options, **more):
        if more.get("accel", "kvm") == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            pytest.skip("no /dev/kvm")
        started.append(qemu.Qemu(directory, name, program, *options, **more))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        print(f"--- {one.name}: exit status {one.process.returncode}\n{one.log()}")
