"""Where io_uring is forbidden, as in many containers, the engine says so and uses poll."""
import os

import harness
from workload import Workload

LIGHT = "uniform,size=16M,rate=2000"
FILTER = os.path.join(harness.BUILD, "tests", "system", "no-uring")


def test_falls_back_to_poll_and_says_so(vm, kvm):
    free = {"FERRY_IO": None}
    source = vm("source", workload=LIGHT, wrapper=[FILTER], environment=free)
    destination = vm("destination", workload=LIGHT, wrapper=[FILTER], incoming=True,
                     environment=free)
    source.set(max_bandwidth=0)
    source.migrate(destination.listen())
    assert source.wait_status(*harness.ENDED) == "completed", source.migration()
    assert source.migration()["x-ferry"]["io"] == "poll"
    assert "io_uring" in source.log() and "poll" in source.log()
    harness.until(destination.running, "the guest to run at the destination")
    Workload(destination).advances()


def test_insisting_on_uring_is_an_error_there(vm, kvm):
    source = vm("source", workload=LIGHT, wrapper=[FILTER], environment={"FERRY_IO": "uring"})
    destination = vm("destination", workload=LIGHT, incoming=True)
    source.migrate(destination.listen())
    assert source.wait_status(*harness.ENDED) == "failed"
    assert "io_uring" in source.migration()["error-desc"]
    assert source.running()
