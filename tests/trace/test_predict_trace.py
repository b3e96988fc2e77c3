"""ferry predict from page dirty traces."""
import json
import os
import subprocess

import pytest

BUILD = os.environ["FERRY_BUILD"]
FERRY = os.path.join(BUILD, "tools/ferry")
TELL = os.path.join(BUILD, "tests/trace/trace-tell")


def make(path, frames, flags):
    subprocess.run([TELL, "--make", path, str(frames), str(flags)], check=True)
    return path


def predict(trace, *words):
    return subprocess.run([FERRY, "predict", "--trace", trace, "--bandwidth", "64M", "--json",
                           "--runs", "5", *words], capture_output=True, text=True, timeout=120)


def test_windows_are_those_of_the_trace(tmp_path):
    trace = make(tmp_path / "any.name", 60, 1)  # with classes
    done = predict(trace, "--ram", "64M")
    assert done.returncode == 0, done.stderr
    guest = json.loads(done.stdout)["guest"]
    assert guest["ram_bytes"] == 64 << 20
    frames = subprocess.run([TELL, trace], capture_output=True, text=True).stdout.splitlines()
    pages = [int(line.split()[3]) for line in frames]
    for written, first in zip(guest["written"], [0, 10, 20, 30]):
        assert written[0]["written_bytes"] == pages[first] * 4096
        assert len(written) == 5  # 1, 2, 5, 10 and 20 frames; half the trace are 30
    done = predict(trace)
    assert json.loads(done.stdout)["guest"]["ram_bytes"] == 503 * 4096


def test_a_trace_that_was_not_finished(tmp_path):
    assert predict(make(tmp_path / "a.pdt", 60, 4 | 8)).returncode == 0


@pytest.mark.parametrize("frames, cut, words", [
    (1, None, "two frames"), (60, 10, "not a page dirty trace"), (60, -500, "")])
def test_what_cannot_be_used(tmp_path, frames, cut, words):
    trace = make(tmp_path / "a.pdt", frames, 8)
    if cut:
        trace.write_bytes(trace.read_bytes()[:cut])
    done = predict(trace)
    assert (done.returncode == 0) == (not words) and words in done.stderr


def test_damage_is_named(tmp_path):
    trace = make(tmp_path / "a.pdt", 60, 8)
    data = bytearray(trace.read_bytes())
    data[1500] ^= 1
    trace.write_bytes(data)
    done = predict(trace)
    assert done.returncode == 1 and "byte " in done.stderr and "a.pdt" in done.stderr
    done = predict(trace.parent / "none.pdt")
    assert done.returncode == 1 and "No such file" in done.stderr
