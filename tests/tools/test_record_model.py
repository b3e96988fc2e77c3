"""ferry record --workload: a model's writes as a trace."""
import os
import sys

import pytest

from ferry_program import ferry

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "docs", "examples"))
import pdt


def record(path, *more):
    return ferry("record", "--workload", "hot-cold,size=32M,rate=20000,zero=300", "--ram", "64M",
                 "--interval", "20ms", "--duration", "2s", "-o", str(path), *more)


def test_frames_are_those_of_the_model(tmp_path):
    assert record(tmp_path / "a.pdt").returncode == 0
    trace = pdt.Trace(str(tmp_path / "a.pdt"))
    frames = list(trace.frames())
    written = set().union(*(pdt.pages_of(frame["runs"]) for frame in frames))
    assert trace.ended and trace.header["method"] == "synthetic"
    assert trace.header["workload"].startswith("hot-cold,") and trace.header["seed"] == 1
    assert len(frames) == 100 and {frame["span_ns"] for frame in frames} == {20_000_000}
    # 820 hot pages, each 22 times a second; 4000 writes to 7372 others; nothing else.
    assert max(written) < 8192
    assert len({page for page in written if page < 819}) == 819
    assert 2900 < len(written) - 819 < 3300


def test_the_same_seed_makes_the_same_bytes(tmp_path):
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        assert record(tmp_path / name, "--seed", seed).returncode == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b and a != c


@pytest.mark.parametrize("words, says", [
    (["--workload", "idle", "--duration", "1s"], "--ram"),
    (["--workload", "idle", "--ram", "64M"], "--duration"),
    (["--workload", "ide", "--ram", "64M", "--duration", "1s"], "known are"),
    (["--workload", "redis,rat=1", "--ram", "64M", "--duration", "1s"], "'rat=1'"),
], ids=["ram", "duration", "name", "key"])
def test_what_is_missing_or_wrong_is_said(tmp_path, words, says):
    done = ferry("record", *words, "-o", str(tmp_path / "a.pdt"))
    assert done.returncode in (1, 2) and says in done.stderr
    assert not os.listdir(tmp_path)
