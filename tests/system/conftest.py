"""Fixtures of the system tests. FERRY_SCALE is the share of the long counts that runs (0.1),
FERRY_SEED repeats a run."""
import os
import random

import pytest

import harness

SCALE = float(os.environ.get("FERRY_SCALE", "0.1"))
SEED = os.environ.get("FERRY_SEED") or str(random.SystemRandom().randrange(10**6))


def pytest_report_header():
    return f"FERRY_SEED={SEED} FERRY_SCALE={SCALE} program={harness.PROGRAM}"


@pytest.fixture
def rng(request):
    """Random numbers that depend on the seed and the test only. A failing test shows the seed."""
    print(f"FERRY_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def count():
    """count(full): how often to do what a soak does @full times."""
    return lambda full: max(1, round(full * SCALE))


@pytest.fixture
def kvm():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no /dev/kvm")


@pytest.fixture(params=["uring", "poll"])
def io(request):
    """The environment that chooses how bytes move."""
    if request.param == "uring" and (reason := harness.no_uring_reason()):
        pytest.skip(f"io_uring: {reason}")
    return {"FERRY_IO": request.param}


@pytest.fixture
def directory():
    path = harness.scratch()
    yield path
    harness.remove(path)


@pytest.fixture
def vm(directory):
    """vm(name, ...) starts one; all are killed at the end."""
    started = []

    def start(name, *options, **more):
        started.append(harness.Vm(directory, name, *options, **more))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        print(f"--- {one.name}: exit status {one.process.returncode}\n{one.log()}")
