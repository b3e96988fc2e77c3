"""ferry bound on traces whose bounds are known."""
import json

import pytest

from ferry_program import ferry
from pdt_writer import Trace

MIB = 1 << 20
LINK = ["--bandwidth", "4104000"]  # a page each ms


@pytest.fixture
def idle(tmp_path):
    """100 pages, written once each at first; then nothing for 200 ms."""
    trace = Trace(100)
    trace.frame(10, [(0, 100)])
    for _ in range(20):
        trace.frame(10, [])
    return trace.save(tmp_path / "idle.pdt")


@pytest.fixture
def busy(tmp_path):
    """50 of 100 pages are written in every frame of 10 ms, by a link that sends 10 meanwhile."""
    trace = Trace(100)
    for _ in range(100):
        trace.frame(10, [(50, 50)])
    return trace.save(tmp_path / "busy.pdt")


def bound(trace, *more):
    done = ferry("bound", str(trace), *LINK, "--json", *more)
    assert done.returncode in (0, 4), done.stderr
    return json.loads(done.stdout)


def test_an_idle_guest_can_be_moved(idle):
    told = bound(idle, "--downtime-limit", "10")
    assert told["type"] == "bound" and told["verdict"] == "possible"
    assert told["ram_bytes"] == 100 * 4096 and told["length_ms"] == 210 and told["frames"] == 21
    # Pages could go from their writes on: from 0 ms at the earliest, from 10 ms at the latest.
    assert told["earliest_low_ms"] == 90 and told["earliest_high_ms"] == 100
    assert told["clairvoyant_low_bytes"] == told["clairvoyant_high_bytes"] == 0
    assert told["shortest_downtime_low_ms"] == told["shortest_downtime_high_ms"] == 0
    assert told["least_throttle_low_percent"] == told["least_throttle_high_percent"] == 0
    assert told["least_bytes"] == 100 * 4104
    assert len(told["series"]) == 21 and told["series"][-1][:3] == [210, 0, 0]
    times = [row[0] for row in told["series"]]
    assert times == sorted(times)
    assert all(row[1] <= row[2] for row in told["series"])


def test_a_busy_guest_cannot_and_the_least_is_said(busy):
    told = bound(busy, "--downtime-limit", "20")
    assert told["verdict"] == "impossible"
    assert "earliest_low_ms" not in told and "earliest_high_ms" not in told
    # Written at the beginnings of two frames, 20 of the pages can go before the third.
    assert told["shortest_downtime_low_ms"] == 30
    assert told["shortest_downtime_high_ms"] == 50
    done = ferry("bound", str(busy), *LINK, "--downtime-limit", "20")
    assert done.returncode == 4
    assert ("impossible: no order of sending meets 20.0 ms at 3.9 MiB/s in this trace: at least "
            "30.0 ms") in done.stdout, done.stdout
    assert "longer than a tenth of the limit" in done.stdout


def test_frames_too_long_to_tell_leave_it_open(busy):
    told = bound(busy, "--downtime-limit", "40")
    assert told["verdict"] == "open"
    assert "earliest_low_ms" in told and "earliest_high_ms" not in told
    assert ferry("bound", str(busy), *LINK, "--downtime-limit", "40").stdout.count("\nopen: ") == 1


def test_fixed_parts_and_the_last_rate_count(busy):
    told = bound(busy, "--downtime-limit", "100", "--fixed", "60")
    assert told["verdict"] == "open" and told["fixed_ms"] == 60
    told = bound(busy, "--downtime-limit", "20", "--switchover-bandwidth", "41040000")
    assert told["verdict"] == "possible"
    assert told["shortest_downtime_high_ms"] == 5


def test_only_a_part_of_the_trace(idle):
    told = bound(idle, "--from", "10ms", "--until", "0.1s")
    assert told["from_ms"] == 10 and told["length_ms"] == 90 and told["frames"] == 9
    assert told["clairvoyant_low_bytes"] == 10 * 4104
    done = ferry("bound", str(idle), *LINK, "--from", "10s")
    assert done.returncode == 1 and "no frame lies between --from and --until" in done.stderr


def test_what_pages_hold(tmp_path):
    trace = Trace(4, classes=[0, 0, 17, 255])
    trace.frame(10, [(0, 1)], classes=[9])
    path = trace.save(tmp_path / "classes.pdt")
    assert bound(path)["least_bytes"] == 3 * 4104 + 9
    assert bound(path, "--packed")["least_bytes"] == 2 * 4104 + 9 + 2056
    assert bound(path, "--page-wire-bytes", "1000")["least_bytes"] == 3 * 1000 + 9
    # What was written before the migration begins is there from its beginning.
    trace.frame(10, [(1, 1)], classes=[0])
    path = trace.save(tmp_path / "later.pdt")
    assert bound(path, "--packed", "--from", "10")["least_bytes"] == 2 * 4104 + 9 + 2056


def test_long_traces_have_a_thinned_series(tmp_path):
    trace = Trace(10)
    for number in range(2500):
        trace.frame(1, [(number % 10, 1)])
    rows = bound(trace.save(tmp_path / "long.pdt"))["series"]
    assert 400 <= len(rows) <= 1000 and rows[-1][0] > 2400
    rows = bound(trace.save(tmp_path / "cut.pdt", end=False))["series"]
    assert 400 <= len(rows) <= 1000 and rows[-1][0] > 2400


def test_damage_is_said_and_what_is_before_it_used(idle, busy, tmp_path):
    whole = busy.read_bytes()
    cut = tmp_path / "cut.pdt"
    cut.write_bytes(whole[:len(whole) // 2])
    done = ferry("bound", str(cut), *LINK)
    assert done.returncode == 1 and "no frame" in done.stderr
    trace = Trace(10)
    trace.frame(10, [(0, 1)])
    trace.flush()
    trace.frame(10, [(1, 1)])
    path = trace.save(tmp_path / "flip.pdt", end=False)
    bytes_ = bytearray(path.read_bytes())
    bytes_[-1] ^= 1
    path.write_bytes(bytes_)
    done = ferry("bound", str(path), *LINK, "--json")
    assert done.returncode == 1 and "is of the part before" in done.stderr
    assert json.loads(done.stdout)["frames"] == 1


@pytest.mark.parametrize("words, why", [
    ([], "--bandwidth is needed"),
    (["--bandwidth", "1"], "1 KiB/s or more"),
    (["--bandwidth", "fast"], "fast"),
    ([*LINK, "--downtime-limit", "long"], "long"),
    ([*LINK, "--page-wire-bytes", "0"], "--page-wire-bytes"),
    ([*LINK, "--from", "2s", "--until", "1s"], "--until is not behind --from"),
    ([*LINK, "another"], "too many arguments"),
])
def test_wrong_words_are_refused(idle, words, why):
    done = ferry("bound", str(idle), *words)
    assert done.returncode == 2 and why in done.stderr, done.stderr


def test_files_that_are_no_traces_are_refused(tmp_path):
    path = tmp_path / "text.pdt"
    path.write_text("t_ms,block,first_page,n\n" * 10)
    done = ferry("bound", str(path), *LINK, "--json")
    assert done.returncode == 1 and "text.pdt" in done.stderr and "not a" in done.stderr
    assert json.loads(done.stdout)["status"] == "failed"
    done = ferry("bound", str(tmp_path / "none.pdt"), *LINK)
    assert done.returncode == 1 and "No such file" in done.stderr
