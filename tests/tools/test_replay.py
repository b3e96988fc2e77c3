"""ferry replay: a trace's writes, done for real while their memory goes to a `ferry receive`."""
import json
import signal
import struct
import subprocess

import pytest

from ferry_program import FERRY, ferry
from peers import PATIENCE, Receive
from traces import write_trace

PAGES = 2048
HOT = set(range(64))
WHOLE = PAGES * 4096


def hot_set(path, frames=1000, **header):
    """A few pages in every frame, and all others in turn."""
    sets = [HOT | {(64 + 29 * i + j) % PAGES for j in range(24)} for i in range(frames)]
    write_trace(path, [("low", PAGES - 16), ("high", 16)], sets, interval_ns=20_000_000, **header)
    return str(path)


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    return hot_set(tmp_path_factory.mktemp("trace") / "hot.pdt")


def replay(trace, uri, *options, status=0):
    done = ferry("replay", trace, uri, "--json", *options)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def run_of(lines):
    [run] = [line for line in lines if line["type"] == "run"]
    return run


def rounds_of(lines):
    return [line for line in lines if line["type"] == "round"]


class Kept(Receive):
    """A receiver whose RAM can be read."""

    def __init__(self, directory, *options):
        super().__init__("--ram-dir", str(directory), *options)
        self.directory = directory

    def first_words(self, *blocks):
        data = b"".join((self.directory / block).read_bytes() for block in blocks)
        return [struct.unpack_from("<Q", data, at)[0] for at in range(0, len(data), 4096)]


def await_pages(there):
    assert any('"iterate"' in line for line in there.process.stdout)


@pytest.mark.parametrize("log, policy", [("pagemap", "ferry"), ("marks", "qemu"),
                                         ("marks", "fixed-rounds=3")])
def test_no_write_is_lost(log, policy, trace, tmp_path):
    if log == "pagemap" and ferry("replay", trace, "unix:/nowhere", "--dirty-log",
                                  log).stderr.find("no such socket") < 0:
        pytest.skip("no PAGEMAP_SCAN")
    with Kept(tmp_path / "ram", "--hash") as there:
        lines = replay(trace, there.uri, "--content", "counters", "--dirty-log", log, "--policy",
                       policy, "--max-bandwidth", "16M", "--verify")
        assert there.end()[0] == 0
        run = run_of(lines)
        assert run["outcome"] == "done" and run["verified"] == 1 and run["policy"] == policy
        # Each page counts from 1, and each write adds one.
        counted = sum(there.first_words("low", "high")) - PAGES
        assert counted == run["writer"]["writes"] > 0


def test_what_it_says_of_itself(trace, tmp_path):
    results = tmp_path / "results"
    with Receive() as there:
        command = ["replay", trace, there.uri, "--policy", "fixed-rounds=3", "--max-bandwidth",
                   "16M", "--seed", "5", "--id", "it", "-o", str(results)]
        done = ferry(*command)
        assert done.returncode == 0 and "outcome   done" in done.stdout, done.stderr
        assert there.end()[0] == 0
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["type"] for line in lines] == ["run", *["round"] * 4, "host"]
    run, rounds = lines[0], lines[1:-1]
    assert run["command"] == ["ferry", *command] and run["kind"] == "replay"
    assert {line["id"] for line in lines[:-1]} == {"it"} and run["seed"] == 5
    assert run["ram_bytes"] == WHOLE and run["length_ms"] == 20000 and run["rounds"] == 4
    assert [r["number"] for r in rounds] == [1, 2, 3, 4]
    assert sum(r["sent_pages"] for r in rounds) == run["sent_pages"]
    assert rounds[-1]["sent_pages"] == run["residual_pages"]
    assert rounds[-1]["sent_bytes"] == run["bounds"]["residual_bytes"]
    assert run["wire_bytes"] > run["sent_pages"] * 4096 and run["amplification"] > 1
    assert run["precopy_ms"] + run["downtime_ms"] <= run["total_ms"] + 1
    assert 0 <= run["convergence_ms"] <= run["precopy_ms"]
    assert run["bounds"]["clairvoyant_low_bytes"] <= run["bounds"]["clairvoyant_high_bytes"] + 1
    assert {"pause_ms", "last_round_ms", "device_state_ms", "load_ms", "start_ms",
            "total_ms"} <= run["downtime"].keys()
    assert run["writer"]["late_max_ms"] >= run["writer"]["late_mean_ms"]
    assert run["destination"] == "ferry" and lines[-1]["cpus"] >= 1


def test_over_multifd_packed(trace, tmp_path):
    with Receive("--channels", "2") as there:
        run = run_of(replay(trace, there.uri, "--multifd", "2", "--compression", "zstd",
                            "--content", "text", "--verify", "--policy", "fixed-rounds=2"))
        assert there.end()[0] == 0
    assert run["verified"] == 1 and run["multifd"] == 2 and run["compression"] == "zstd"
    assert run["wire_bytes"] < run["sent_pages"] * 2048, "text packs"


def test_classes_are_what_memory_holds(tmp_path):
    """A trace that says zero of everything weighs nothing, one that says nothing all of it."""
    path = str(tmp_path / "trace.pdt")
    write_trace(path, [("ram", PAGES)], [set(range(8))] * 100, interval_ns=20_000_000)
    with Receive() as there:
        run = run_of(replay(path, there.uri, "--policy", "fixed-rounds=1"))
        assert there.end()[0] == 0
    assert run["content"] == "trace" and run["zero_pages"] == 0
    assert run["sent_pages"] >= PAGES


def test_start_speed_and_repeat(tmp_path):
    """Page n is written in frame n alone: which ones were says what was played."""
    path = str(tmp_path / "trace.pdt")
    write_trace(path, [("ram", 64)], [{n} for n in range(20)], interval_ns=10_000_000)
    options = ["--content", "counters", "--policy", "fixed-rounds=2", "--max-bandwidth", "256K"]
    with Kept(tmp_path / "late") as there:  # 64 pages at 64 pages a second
        run = run_of(replay(path, there.uri, *options, "--start", "125ms", "--repeat"))
        assert there.end()[0] == 0
        words = there.first_words("ram")
    assert run["start_ms"] == 120 and run["at_end"] == "repeat"
    assert words[:12] == [1] * 12 and min(words[12:20]) > 2, "the beginning is not played"
    assert sum(words) - 64 == run["writer"]["writes"]
    with Kept(tmp_path / "slow") as there:
        run = run_of(replay(path, there.uri, *options, "--speed", "0.03"))
        assert there.end()[0] == 0
        words = there.first_words("ram")
    assert run["speed"] == 0.03 and max(words) == 2, "each at most once"


def test_mappings_without_number(tmp_path):
    path = str(tmp_path / "trace.pdt")
    write_trace(path, [(f"{n % 7}", n % 3) for n in range(3000)], [set(range(0, 3000, 3))] * 500,
                interval_ns=20_000_000)
    with Receive() as there:
        run = run_of(replay(path, there.uri, "--policy", "fixed-rounds=2", "--verify"))
        status, said = there.end()
    assert status == 0 and run["verified"] == 1 and run["ram_bytes"] == 3000 * 4096
    assert [block["name"] for block in said["blocks"]] == ["trace"]


def test_the_trace_ends_first(trace, tmp_path):
    path = hot_set(tmp_path / "short.pdt", frames=10)
    with Receive() as there:
        run = run_of(replay(path, there.uri, "--max-bandwidth", "1M", "--policy", "qemu",
                            "--downtime-limit", "1", status=4))
        assert there.end()[0] != 0
    assert run["outcome"] == "unfinished" and "the trace ended" in run["error"]
    assert run["writer"]["played_ms"] >= 200 and "downtime_ms" not in run


def test_it_gives_up_when_it_is_told_to(trace):
    with Receive() as there:
        run = run_of(replay(trace, there.uri, "--max-bandwidth", "1M", "--policy", "qemu",
                            "--downtime-limit", "1", "--timeout", "300ms", status=4))
        assert there.end()[0] != 0
    assert run["outcome"] == "gave-up" and run["timeout_ms"] == 300


def test_ctrl_c(trace):
    with Receive() as there:
        with subprocess.Popen([FERRY, "replay", trace, there.uri, "--json", "--repeat",
                               "--max-bandwidth", "512K"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            await_pages(there)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 3 and "cancelled" in err
        assert there.end()[0] != 0
    assert run_of([json.loads(line) for line in out.splitlines()])["error"] == "cancelled"


def test_the_destination_dies(trace):
    with Receive() as there:
        with subprocess.Popen([FERRY, "replay", trace, there.uri, "--json", "--repeat",
                               "--max-bandwidth", "512K"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            await_pages(there)
            there.process.kill()
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1, err
    run = run_of([json.loads(line) for line in out.splitlines()])
    assert run["outcome"] == "failed" and run["error"] in err


def test_a_cut_trace_is_played_up_to_there(tmp_path):
    path = tmp_path / "cut.pdt"
    write_trace(path, [("ram", PAGES)], [HOT] * 300, interval_ns=20_000_000, is_ended=False)
    with Receive() as there:
        done = ferry("replay", str(path), there.uri, "--json")
        assert done.returncode == 0 and "not finished" in done.stderr, done.stderr
        assert there.end()[0] == 0
    assert json.loads(done.stdout.splitlines()[0])["length_ms"] == 6000


def damaged(tmp_path, what):
    path = tmp_path / "it.pdt"
    if what == "missing":
        return path
    write_trace(path, [("ram", 1 << 39 if what == "huge" else PAGES)], [HOT] * 20,
                **{"page_bytes": 2 << 20} if what == "pages" else {})
    data = path.read_bytes()
    if what == "text":
        path.write_text("no trace")
    elif what == "header":
        path.write_bytes(data[:30] + b"#" + data[31:])
    elif what == "empty":
        write_trace(path, [("ram", PAGES)], [set()], is_ended=False)
        path.write_bytes(path.read_bytes()[:-10])
    return path


@pytest.mark.parametrize("what, says", [
    ("missing", "No such file"), ("text", "not a page dirty trace"), ("header", "it.pdt"),
    ("huge", "allowed here"), ("pages", "4096"), ("empty", "no frame")])
def test_what_is_no_trace_is_refused(what, says, tmp_path):
    [said] = replay(str(damaged(tmp_path, what)), "unix:/nowhere", status=5)
    assert said["status"] == "refused" and says in said["error"], said


def test_refused_before_it_begins(trace, tmp_path):
    [said] = replay(trace, "unix:/nowhere/at/all", status=5)
    assert "no such socket" in said["error"]
    [said] = replay(trace, "unix:/nowhere", "--start", "25s", status=5)
    assert "only 20.000 s long" in said["error"]
    [said] = replay(trace, "unix:/nowhere", "--snapshot", str(tmp_path / "none"), status=5)
    assert "No such file" in said["error"]


@pytest.mark.parametrize("options, says", [
    ([], "too few"), (["a", "tcp:x:1", "b"], "too many"), (["a", "nowhere"], "nowhere"),
    (["a", "unix:x", "--policy", "best"], "best"), (["a", "unix:x", "--content", "x"], "--content"),
    (["a", "unix:x", "--speed", "0"], "--speed"), (["a", "unix:x", "--speed", "nan"], "--speed"),
    (["a", "unix:x", "--multifd", "256"], "--multifd"), (["a", "file:x", "--multifd", "2"], "tcp:"),
    (["a", "unix:x", "--compression", "zstd"], "--multifd"),
    (["a", "unix:x", "--peer", "7.2"], "--snapshot"), (["a", "unix:x", "--seed", "-1"], "--seed"),
    (["a", "unix:x", "--dirty-log", "x"], "--dirty-log"),
    (["a", "unix:x", "--on-stall", "x"], "--on-stall"),
    (["a", "unix:x", "--start", "99999999999999999s"], "99999999999999999s")])
def test_usage(options, says):
    done = ferry("replay", *options)
    assert done.returncode == 2 and says in done.stderr, done.stderr
