"""ferry replay -> QEMU: a trace is played on a snapshot's memory while a stock QEMU takes it in."""
import os
import shutil
import sys

import pytest

import cases
import ferry
import qemu

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tools"))
import traces  # noqa: E402

pytestmark = pytest.mark.skipif(not shutil.which(cases.INSTALLED.path), reason="no QEMU")
PAGES = 32 << 8  # of pc.ram


def trace_in(directory, name="pc.ram", pages=PAGES):
    path = os.path.join(directory, "trace.pdt")
    sets = [set(range(100)) | {(100 + 53 * i + j) % pages for j in range(40)} for i in range(500)]
    traces.write_trace(path, [(name, pages)], sets, interval_ns=20_000_000)
    return path


def replay(directory, trace, uri, snapshot, *words, status=0):
    told = ferry.Ferry(directory, "replay", trace, uri, "--snapshot", snapshot, *words)
    try:
        out, _ = told.process.communicate(timeout=qemu.harness.PATIENCE)
        assert told.process.returncode == status, (told.process.returncode, out, told.log())
        return [ferry.json.loads(line) for line in out.splitlines()]
    finally:
        told.kill()


@pytest.fixture(scope="module")
def kept():
    """A snapshot, the hashes of its RAM and what its guest had printed."""
    directory = qemu.harness.scratch()
    with qemu.Qemu(directory, "source", cases.INSTALLED,
                   accel="kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "tcg") as source:
        source.prints_on()
        path, result = ferry.receive(directory, source, qemu.PLAIN, "unix")
        yield path, ferry.hashes(result), source
    qemu.harness.remove(directory)


@pytest.mark.parametrize("words", [("--peer-qmp",), ("--peer", cases.INSTALLED.label),
                                   ("--peer-qmp", "--multifd", "2", "--compression", "zlib")],
                         ids=["asked", "told", "multifd"])
def test_the_guest_goes_on_where_it_was(vm, directory, kept, words):
    snapshot, hashes, source = kept
    there = vm("destination", cases.INSTALLED, accel=source.accel, incoming="defer", paused=True)
    if "--multifd" in words:
        qemu.multifd("zlib", 2).prepare(there)
    if words[0] == "--peer-qmp":
        words = ("--peer-qmp", "unix:" + there.peer_monitor_path, *words[1:])
    uri = there.listen(f"unix:{directory}/there")
    lines = replay(directory, trace_in(directory), uri, snapshot, "--policy", "fixed-rounds=4",
                   "--max-bandwidth", "64M", *words)
    assert lines[0]["outcome"] == "done" and lines[0]["content"] == "keep", lines[0]
    assert lines[0]["destination"] == "other" and lines[0]["writer"]["writes"] > 100
    assert lines[0]["rounds"] == 5
    if words[0] == "--peer":
        qemu.harness.until(lambda: there.run_state() != "inmigrate", "the guest to arrive")
        ferry.same_ram(hashes, there)
        there.qmp("cont")
    there.prints_on()
    qemu.goes_on(source, there)


@pytest.mark.parametrize("name, pages, says", [
    ("heap", 1000, "'heap' of 1000 pages: the snapshot has none"),
    ("pc.ram", 2 * PAGES, "in the snapshot")])
def test_blocks_that_have_no_place_are_refused(directory, kept, name, pages, says):
    [said] = replay(directory, trace_in(directory, name, pages), "unix:/nowhere", kept[0], status=5)
    assert said["status"] == "refused" and says in said["error"], said
