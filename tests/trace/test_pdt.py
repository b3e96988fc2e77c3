"""docs/examples/pdt.py, which knows the format's page alone, reads what Ferry writes."""
import json
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TELL = os.path.join(os.environ["FERRY_BUILD"], "tests/trace/trace-tell")
PDT = os.path.join(ROOT, "docs/examples/pdt.py")
CLASSES, BLOCKS, NO_END, FLUSHES = 1, 2, 4, 8


def make(path, frames, flags):
    subprocess.run([TELL, "--make", path, str(frames), str(flags)], check=True)
    return path


def pdt(*arguments, without_module=False):
    command = [sys.executable, PDT, *map(str, arguments)]
    if without_module:
        code = ("import sys, runpy; sys.modules['zstandard'] = None; sys.argv = sys.argv[1:]; "
                "runpy.run_path(sys.argv[0], run_name='__main__')")
        command = [sys.executable, "-c", code, *command[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("frames, flags", [(0, 0), (7, 0), (60, CLASSES | BLOCKS | FLUSHES),
                                           (300, CLASSES | BLOCKS), (60, BLOCKS | NO_END)])
def test_both_readers_say_the_same(tmp_path, frames, flags):
    trace = make(tmp_path / "a.pdt", frames, flags)
    theirs = pdt("--frames", trace)
    ours = subprocess.run([TELL, trace], capture_output=True, text=True)
    header, *lines, last = theirs.stdout.splitlines()
    assert lines == ours.stdout.splitlines() and len(lines) == frames
    assert theirs.returncode == ours.returncode == (1 if flags & NO_END else 0)
    summary = json.loads(last)
    assert json.loads(header)["method"] == "synthetic"
    assert summary["frames"] == frames
    assert summary["blocks"] == (3 if flags & BLOCKS else 2)
    assert summary["classes"] == (450 if flags & CLASSES else 0)
    assert summary["status"] == ("cut" if flags & NO_END else "whole")
    if not flags & NO_END:
        assert summary["totals"]["frames"] == frames
        assert summary["totals"]["pages_written"] == summary["pages_written"]


@pytest.mark.parametrize("name", ["gcc", "redis"])
def test_recorded_traces(name):
    trace = os.path.join(ROOT, "tests/vectors/traces", name + ".pdt")
    lines = pdt("--frames", trace).stdout.splitlines()
    assert lines[1:-1] == subprocess.run([TELL, trace], capture_output=True,
                                         text=True).stdout.splitlines()
    assert json.loads(lines[-1])["status"] == "whole"


def test_zstd_instead_of_its_module(tmp_path):
    trace = make(tmp_path / "a.pdt", 30, FLUSHES)
    result = pdt(trace, without_module=True)
    assert result.returncode == 0 and '"frames": 30,' in result.stdout, result.stderr


@pytest.mark.parametrize("at", [30, 1000, -100])
def test_damage_is_seen(tmp_path, at):
    trace = make(tmp_path / "a.pdt", 60, FLUSHES)
    data = bytearray(trace.read_bytes())
    data[at] ^= 1
    trace.write_bytes(data)
    result = pdt(trace)
    assert result.returncode == 1
    assert "damaged" in result.stdout + result.stderr
