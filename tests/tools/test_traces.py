"""The published traces are whole, what docs/traces.md says of them, and can be worked with."""
import json
import os
import sys

import pytest

from ferry_program import ferry

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TRACES = os.path.join(ROOT, "tests", "vectors", "traces")
sys.path.insert(0, os.path.join(ROOT, "docs", "examples"))
import pdt

# frames, pages written, distinct pages, blocks and pages of them all
FIGURES = {"redis": (66, 105345, 11899, 38, 23547), "gcc": (158, 111090, 42229, 464, 42441)}


@pytest.mark.parametrize("name", FIGURES)
def test_figures(name):
    trace = pdt.Trace(f"{TRACES}/{name}.pdt")
    frames = list(trace.frames())
    distinct = set().union(*(pdt.pages_of(frame["runs"]) for frame in frames))
    assert (len(frames), sum(frame["pages"] for frame in frames), len(distinct), len(trace.blocks),
            sum(block["pages"] for block in trace.blocks)) == FIGURES[name]
    assert trace.ended
    assert trace.totals["frames"] == len(frames) and trace.totals["ended"] == "done"
    assert trace.totals["pages_written"] == FIGURES[name][1]
    assert trace.totals["distinct_pages"] == len(distinct)


@pytest.mark.parametrize("name", FIGURES)
def test_anybody_may_use_them_and_make_them_again(name):
    header = pdt.Trace(f"{TRACES}/{name}.pdt").header
    assert header["licence"] == "CC0-1.0" and "tests/vectors/traces/make" in header["provenance"]
    assert name in header["provenance"] and name in header["workload"]
    assert os.access(f"{TRACES}/make", os.X_OK)


def test_contents_of_redis():
    trace = pdt.Trace(f"{TRACES}/redis.pdt")
    classes = {c for frame in trace.frames() for c in frame.get("classes", [])}
    assert {0, 2} < classes and 255 not in classes
    assert len(trace.classes) == FIGURES["redis"][4]


@pytest.mark.parametrize("name", FIGURES)
def test_they_are_simulated(name):
    done = ferry("simulate", "--trace", f"{TRACES}/{name}.pdt", "--policy", "ferry,qemu",
                 "--bandwidth", "512MiB/s", "--json", "--reproducible")
    assert done.returncode == 0, done.stderr
    runs = [line for line in map(json.loads, done.stdout.splitlines()) if line["type"] == "run"]
    assert [(run["policy"], run["outcome"]) for run in runs] == [("ferry", "done"), ("qemu", "done")]
    for run in runs:
        assert run["ram_bytes"] <= FIGURES[name][4] * 4096
