"""ferry inspect of page dirty traces."""
import json
import os
import subprocess

import pytest

BUILD = os.environ["FERRY_BUILD"]
FERRY = os.path.join(BUILD, "tools/ferry")
TELL = os.path.join(BUILD, "tests/trace/trace-tell")


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "a.pdt"
    subprocess.run([TELL, "--make", path, "60", "11"], check=True)
    return path


def inspect(*words):
    return subprocess.run([FERRY, "inspect", *map(str, words)], capture_output=True, text=True,
                          timeout=60)


def test_says_what_is_in_it(trace):
    done = inspect("--json", trace)
    said = json.loads(done.stdout)
    assert done.returncode == 0 and done.stderr == ""
    assert said["status"] == "completed" and said["kind"] == "trace"
    assert said["bytes"] == trace.stat().st_size
    assert [b["name"] for b in said["header"]["blocks"]] == ["pc.ram", 'vga "\\\n', "later"]
    assert said["ram_bytes"] == 603 * 4096
    assert said["frames"] == said["totals"]["frames"] == 60
    assert said["pages_written"] == said["totals"]["pages_written"]
    assert said["totals"]["curve"][-1] == [said["length_ns"], said["totals"]["distinct_pages"]]


def test_words(trace):
    done = inspect(trace)
    assert done.returncode == 0 and done.stderr == ""
    for words in ["a page dirty trace", "synthetic", "pc.ram", "60 in 6.00 s", "ended: done"]:
        assert words in done.stdout
    assert 'vga "\\?' in done.stdout  # names cannot move the cursor


def test_what_is_cut_or_damaged(trace):
    data = trace.read_bytes()
    trace.write_bytes(data[:2000])
    done = inspect("--json", trace)
    assert done.returncode == 1 and "not finished" in done.stderr
    said = json.loads(done.stdout)
    assert said["status"] == "truncated" and 0 < said["frames"] < 60 and "totals" not in said

    trace.write_bytes(data[:2000] + bytes([data[2000] ^ 1]) + data[2001:])
    done = inspect("--json", trace)
    assert done.returncode == 1 and "byte " in done.stderr and "checksum" in done.stderr
    said = json.loads(done.stdout)
    assert said["status"] == "malformed" and 0 < said["frames"] < 60

    trace.write_bytes(data[:8] + b"\2" + data[9:])
    done = inspect(trace)
    assert done.returncode == 1 and "version" in done.stderr


def test_options_of_streams_are_refused(trace):
    done = inspect("--hash", trace)
    assert done.returncode == 2 and "page dirty trace" in done.stderr and done.stdout == ""
