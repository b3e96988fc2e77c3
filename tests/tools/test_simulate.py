"""ferry simulate: options, lines, processes. What the figures are worth is the simulator's to show."""
import json
import os
import random
import re
import signal
import subprocess
import time

import pytest

import pages
from ferry_program import FERRY, ferry

DOC = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "results.md")
VECTORS = os.path.join(os.path.dirname(__file__), "..", "vectors", "traces")
MODEL = ["--workload", "uniform,size=16M,rate=2000", "--ram", "64M"]
RAM_PAGES = 16384
LONG = ["--workload", "uniform,size=4G,rate=400000", "--ram", "8G", "--bandwidth", "10Gbit/s"]


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def runs(text):
    return [line for line in lines(text) if line["type"] == "run"]


def one(*words):
    done = ferry("simulate", *words, "--json", "--reproducible")
    said = runs(done.stdout)
    assert len(said) == 1, done.stderr
    return done.returncode, said[0]


@pytest.fixture(name="trace", scope="module")
def _trace(tmp_path_factory):
    """5 s of 2000 writes a second anywhere in 16 MiB."""
    chance = random.Random(1)
    path = str(tmp_path_factory.mktemp("traces") / "uniform.pdt")
    pages.write(path, RAM_PAGES, [[chance.randrange(4096) for _ in range(20)] for _ in range(500)])
    return path


def documented(title):
    """Names in backquotes of one section of the page."""
    with open(DOC, encoding="utf-8") as f:
        section = re.search(r"^## `\{\"type\": \"%s\"\}`.*?(?=^## |\Z)" % title, f.read(),
                            re.M | re.S)
    return set(re.findall(r"`([a-z_]+)`", section[0]))


@pytest.mark.parametrize("words, why", [
    ([], "one of --trace and --workload is needed"),
    ([*MODEL, "--trace", "x"], "one of --trace and --workload is needed"),
    (["--workload", "uniform,rate=1"], "--ram is needed"),
    (["--trace", "x", "--ram", "1G"], "--ram is for --workload"),
    (["--trace", "x", "--interval", "1"], "--interval is for --workload"),
    ([*MODEL, "--start", "1s"], "--start and --at-end are for --trace"),
    ([*MODEL, "--bandwidth", "fast"], "--bandwidth 'fast': "),
    ([*MODEL, "--bandwidth", "1G,0"], "--bandwidth '0': it is too little"),
    ([*MODEL, "--bandwidth", ""], "--bandwidth '': it is empty"),
    ([*MODEL, "--bandwidth", "1M,,2M"], "--bandwidth '': "),
    ([*MODEL, "--bandwidth", "1M,1M"], "--bandwidth '1M': it is given twice"),
    ([*MODEL, "--downtime-limit", "0"], "--downtime-limit '0': it is too little"),
    ([*MODEL, "--policy", "ferry,best"], "--policy 'best': there is no such policy"),
    ([*MODEL, "--on-stall", "hope"], "--on-stall 'hope': known are wait pause throttle cancel"),
    ([*MODEL, "--compress", "lz4"], "--compress 'lz4': known are none zlib zstd"),
    ([*MODEL, "--jitter", "91"], "--jitter '91': it is too much"),
    ([*MODEL, "--jitter", "nan"], "--jitter 'nan': it is no percentage"),
    ([*MODEL, "--jitter", "0x1"], "--jitter '0x1': it is no percentage"),
    ([*MODEL, "--throttle-max", "100"], "--throttle-max '100': it is too much"),
    ([*MODEL, "--seed", "-1"], "--seed '-1'"),
    ([*MODEL, "--link-change", "1s"], "--link-change '1s': it is not T:RATE"),
    ([*MODEL, "--link-change", "2s:1M,1s:2M"], "times begin above 0 and ascend"),
    ([*MODEL, "--link-change", "2s:1M,every:1s"], "the last step lies behind what is repeated"),
    ([*MODEL, "--link-change", "every:1s"], "it has no step"),
    ([*MODEL, "--runs", "0"], "--runs is 1 to 1000000"),
    ([*MODEL, "--jobs", "-1"], "--jobs is 1 to 1024"),
    ([*MODEL, "--runs", "1000000", "--bandwidth", "1M,2M"], "more than 1000000 runs"),
    ([*MODEL, "--runs", "600", "--jitter", ",".join(map(str, range(60))), "--policy",
      ",".join(f"fixed-rounds={n}" for n in range(1, 60))], "more than 1000000 runs"),
    (["--workload", "dance", "--ram", "64M"], "--workload 'dance': "),
    (["--workload", "uniform,size=1G,rate=1", "--ram", "64M"], "--workload 'uniform,size=1G"),
    ([*MODEL, "--costs", "/dev/null"], "--costs: /dev/null: it is no "),
    ([*MODEL, "more"], "too many arguments"),
])
def test_mistakes_are_status_2_and_name_the_option(words, why):
    done = ferry("simulate", *words)
    assert done.returncode == 2 and why in done.stderr and not done.stdout, done.stderr


def test_lines_have_the_members_of_their_page(trace):
    done = ferry("simulate", "--trace", trace, "--policy", "ferry,qemu", "--bandwidth", "32M,64M",
                 "--auto-converge", "on", "--timeout", "20s", "--jitter", "5", "--json", "--rounds")
    assert done.returncode == 0, done.stderr
    said = lines(done.stdout)
    assert [line["type"] for line in said if line["type"] != "round"] == \
        ["sweep", "run", "run", "run", "run", "host"]
    for line in said:
        unknown = set(line) - documented(line["type"]) - {"type", "trace"}
        assert not unknown, unknown
        for name in ("bounds", "downtime"):
            assert not set(line.get(name, {})) - documented("run"), line[name]
    assert said[0]["runs"] == 4 and said[0]["varied"] == {
        "bandwidth": ["32M", "64M"], "policy": ["ferry", "qemu"]}
    told = runs(done.stdout)
    assert [(r["bandwidth_bytes_per_second"] >> 20, r["policy"]) for r in told] == \
        [(32, "ferry"), (32, "qemu"), (64, "ferry"), (64, "qemu")]
    assert len({r["id"] for r in told}) == 4
    assert {line["id"] for line in said if line["type"] == "round"} == {r["id"] for r in told}


def test_a_run_says_how_it_went(trace):
    status, r = one("--trace", trace, "--bandwidth", "32M", "--policy", "qemu")
    assert status == 0 and r["outcome"] == "done" and r["kind"] == "simulate"
    assert r["trace"] == trace and r["ram_bytes"] == RAM_PAGES * 4096 and r["length_ms"] == 5000
    assert r["total_ms"] == pytest.approx(r["precopy_ms"] + r["downtime_ms"], abs=0.01)
    assert r["amplification"] == pytest.approx(r["wire_bytes"] / r["ram_bytes"], abs=0.001)
    parts = r["downtime"]
    assert parts["total_ms"] == r["downtime_ms"] == pytest.approx(
        sum(v for k, v in parts.items() if k != "total_ms"), abs=0.01)
    assert r["convergence_ms"] < r["precopy_ms"]


@pytest.mark.parametrize("words", [
    ["uniform", "--bandwidth", "8M,16M,32M"],
    ["uniform", "--bandwidth", "16M", "--start", "1234ms", "--max-bandwidth", "8M,12M"],
    ["gcc.pdt", "--bandwidth", "4M,16M"],
    ["gcc.pdt", "--bandwidth", "4M,16M", "--start", "500ms", "--compress", "zstd"],
    ["redis.pdt", "--bandwidth", "100M,1G"],
], ids=" ".join)
def test_nothing_beats_the_bounds(trace, words):
    path = trace if words[0] == "uniform" else os.path.join(VECTORS, words[0])
    done = ferry("simulate", "--trace", path, *words[1:], "--policy", "ferry,qemu,fixed-rounds=2",
                 "--on-stall", "pause", "--until", "20s", "--json", "--downtime-limit", "50,300")
    bounded = [r for r in runs(done.stdout) if r["outcome"] == "done"]
    assert len(bounded) >= 6
    for r in bounded:
        b = r["bounds"]
        assert b["clairvoyant_low_bytes"] <= b["clairvoyant_high_bytes"]
        assert b["residual_bytes"] >= b["clairvoyant_low_bytes"], r["id"]
        assert r["downtime_ms"] >= b["shortest_downtime_low_ms"], r["id"]
        assert r["amplification_oracle"] >= 1, r["id"]
        if r["downtime_ms"] <= r["downtime_limit_ms"]:
            assert b["verdict"] != "impossible" and b["earliest_low_ms"] <= r["precopy_ms"] + 1


def test_what_cannot_be_is_said_of_models_too():
    status, r = one("--workload", "sweep,size=48M,rate=60000", "--ram", "64M", "--bandwidth", "16M",
                    "--until", "20s", "--policy", "qemu")
    b = r["bounds"]
    assert status == 4 and r["outcome"] == "unfinished" and "downtime_ms" not in r
    assert b["verdict"] == "impossible" and b["shortest_downtime_low_ms"] > 300
    assert "earliest_low_ms" not in b and b["least_throttle_low_percent"] > 50
    assert "bounds" not in one(*MODEL, "--no-bounds")[1]


def test_the_same_seed_gives_the_same_bytes(tmp_path, trace):
    words = ["--policy", "ferry,qemu", "--bandwidth", "16M,32M", "--runs", "2", "--jitter", "10",
             "--rounds", "--reproducible"]
    for source in (["--trace", trace], MODEL):
        said = [ferry("simulate", *source, *words, "--json", "--jobs", str(jobs)).stdout
                for jobs in (1, 2)]
        path = str(tmp_path / "results.jsonl")
        assert ferry("simulate", *source, *words, "-o", path).returncode == 0
        with open(path, encoding="utf-8") as f:
            assert said[0] == said[1] == f.read() and len(runs(said[0])) == 8
    assert ferry("simulate", *MODEL, *words, "--json", "--seed", "7").stdout != said[0]


def test_the_command_of_a_run_makes_it_again(trace):
    done = ferry("simulate", "--trace", trace, "--policy", "ferry,qemu", "--bandwidth", "16M,32M",
                 "--downtime-limit", "100", "--runs", "2", "--json", "--link-change", "1s:20M")
    for told in runs(done.stdout)[3:5]:
        assert told["command"][:2] == ["ferry", "simulate"]
        again = runs(ferry(*told["command"][1:], "--json").stdout)
        assert again == [told]


def test_links_change(trace):
    slow = one("--trace", trace, "--bandwidth", "32M", "--link-change", "500ms:8M")[1]
    paused = one("--trace", trace, "--bandwidth", "32M", "--link-change", "500ms:0,3s:32M")[1]
    steady = one("--trace", trace, "--bandwidth", "32M")[1]
    assert slow["total_ms"] > paused["total_ms"] > steady["total_ms"] + 2000
    assert slow["link_change"] == "500ms:8M" and "link_change" not in steady
    assert "verdict" not in slow["bounds"] and slow["bounds"]["clairvoyant_high_bytes"] >= 0


def test_a_trace_begins_and_ends_somewhere(trace):
    words = ["--trace", trace, "--bandwidth", "16M", "--until", "22s", "--downtime-limit", "1"]
    status, r = one(*words, "--at-end", "stop", "--start", "4s")
    assert status == 4 and r["outcome"] == "unfinished" and r["error"] == "the trace ended"
    assert r["total_ms"] == pytest.approx(1000, abs=50) and r["start_ms"] == 4000
    status, r = one(*words)
    assert r["trace_repeats"] == 4 and r["error"] == "it was watched no longer"
    assert r["total_ms"] == pytest.approx(22000, abs=200)


def test_a_slowed_guest_is_held_against_a_slowed_one():
    words = ["--workload", "uniform,size=32M,rate=20000", "--ram", "64M", "--bandwidth", "32M",
             "--downtime-limit", "100", "--until", "120s"]
    status, r = one(*words, "--policy", "qemu", "--auto-converge", "on")
    assert status == 0 and r["throttle_max_percent"] >= 20 and r["throttle_percent_seconds"] > 0
    assert r["bounds"]["residual_bytes"] >= r["bounds"]["clairvoyant_low_bytes"]
    status, r = one(*words, "--policy", "ferry", "--on-stall", "cancel")
    assert status == 4 and r["outcome"] == "gave-up"
    assert r["first_verdict"] == "stalls" and "cannot be met" in r["error"]


def test_a_timeout_ends_a_migration():
    words = [*LONG[:4], "--bandwidth", "100M", "--timeout", "2s", "--no-bounds"]
    status, r = one(*words)
    assert status == 4 and r["outcome"] == "gave-up" and r["error"] == "the timeout passed"
    assert r["total_ms"] == pytest.approx(2000, abs=100)
    status, r = one(*words, "--on-timeout", "pause")
    assert status == 0 and r["precopy_ms"] == pytest.approx(2000, abs=100)


def test_the_table_puts_policies_side_by_side():
    done = ferry("simulate", *MODEL, "--bandwidth", "16M,32M", "--policy", "qemu,ferry", "--runs",
                 "3")
    assert done.returncode == 0
    blocks = [b.splitlines() for b in done.stdout.split("\n\n")]
    assert len(blocks) == 2 and "bandwidth=16M" in blocks[0][0] and "bandwidth=32M" in blocks[1][0]
    for block in blocks:
        assert [line.split()[0] for line in block[1:]] == ["policy", "qemu", "ferry"]
        assert all(" 3/3 " in line for line in block[2:])
    assert "R/R*" in blocks[0][1] and "possible" in blocks[0][2]


def test_what_does_not_converge_is_no_failure_of_a_sweep():
    words = ["--workload", "uniform,size=48M,rate=60000", "--ram", "64M", "--bandwidth", "8M",
             "--until", "5s", "--no-bounds"]
    assert ferry("simulate", *words).returncode == 4
    assert ferry("simulate", *words, "--seed", "1,2").returncode == 0


def test_lists():
    done = ferry("simulate", "--list-workloads")
    assert done.returncode == 0 and "redis" in done.stdout and "rate=" in done.stdout
    done = ferry("simulate", "--list-policies")
    assert done.returncode == 0 and "qemu-7.2" in done.stdout


@pytest.mark.parametrize("damage, words", [
    (lambda data: b"", ""),
    (lambda data: b"no trace at all" * 10, ""),
    (lambda data: data[:50], ""),
    (lambda data: None, "No such file"),
])
def test_what_is_no_trace_is_refused_before_anything_runs(tmp_path, trace, damage, words):
    with open(trace, "rb") as f:
        data = damage(f.read())
    path = str(tmp_path / "bad.pdt")
    if data is not None:
        with open(path, "wb") as f:
            f.write(data)
    done = ferry("simulate", "--trace", path, "--json")
    assert done.returncode == 1 and path in done.stderr and words in done.stderr, done.stderr
    assert not done.stdout


def test_a_damaged_trace_fails_its_runs_and_no_others(tmp_path, trace):
    with open(trace, "rb") as f:
        data = bytearray(f.read())
    data[len(data) // 2] ^= 1
    bad = str(tmp_path / "bad.pdt")
    with open(bad, "wb") as f:
        f.write(data)
    done = ferry("simulate", "--trace", bad, "--trace", trace, "--bandwidth", "16M", "--json",
                 "--policy", "qemu,ferry")
    assert done.returncode == 1 and f"trace={bad}" in done.stderr
    told = runs(done.stdout)
    assert [(r["trace"], r["outcome"]) for r in told] == \
        [(bad, "failed"), (bad, "failed"), (trace, "done"), (trace, "done")]
    assert told[0]["error"] and "total_ms" not in told[0]


def test_costs_are_read(tmp_path):
    path = str(tmp_path / "costs.json")
    def costs(text):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return ["--costs", path]
    dear = one(*MODEL, "--bandwidth", "1G", *costs('{"type":"costs","page_ns":50000}'))[1]
    cheap = one(*MODEL, "--bandwidth", "1G", *costs('{"type":"costs","page_ns":300}'))[1]
    assert dear["total_ms"] > 16384 * 0.05 > cheap["total_ms"]
    fixed = one(*MODEL, *costs('{"type":"costs","fixed_ns":123000000}'))[1]
    assert fixed["fixed_ms"] == 123 and fixed["downtime_ms"] > 123
    large = costs('{"type":"costs","clear_ns":1000,"clear_ns_per_gib":10000000000}')
    quick, slow = (one(*MODEL, "--policy", policy, *large)[1] for policy in ("ferry", "qemu"))
    assert slow["total_ms"] > quick["total_ms"] + 500  # whose chunk is all of its memory
    costs('{"type":"costs","fixed_ns":123000000}')
    assert one(*MODEL, "--fixed", "7ms", "--costs", path)[1]["fixed_ms"] == 7
    for text in ("", "[]", "{}", '{"type":"run"}', '{"type":"costs","page_ns":-1}',
                 '{"type":"costs","page_ns":1.5}', '{"type":["costs"]}',
                 '{"type":"costs","page_ns":[1]}'):
        done = ferry("simulate", *MODEL, *costs(text))
        assert done.returncode == 2 and f"--costs: {path}: " in done.stderr, (text, done.stderr)


def begin(*words):
    return subprocess.Popen([FERRY, "simulate", *LONG, *words], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def a_worker_of(process):
    path = f"/proc/{process.pid}/task/{process.pid}/children"
    for _ in range(2000):
        with open(path, encoding="ascii") as f:
            children = f.read().split()
        if children:
            return int(children[0])
        time.sleep(0.005)
    raise AssertionError("no worker")


def test_a_worker_that_dies_is_told_by_its_parameters():
    process = begin("--jobs", "1", "--json", "--policy", "qemu", "--until", "600s", "--no-bounds")
    os.kill(a_worker_of(process), signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "died by signal 9" in err and "policy=qemu" in err
    told = runs(out)
    assert [r["outcome"] for r in told] == ["failed"] and told[0]["policy"] == "qemu"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_what_is_done(number):
    process = begin("--jobs", "1", "--json", "--no-bounds", "--until", "1ms,600s", "--policy",
                    "qemu")
    first = process.stdout.readline() + process.stdout.readline()
    worker = a_worker_of(process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert [r["until_ms"] for r in runs(first + out)] == [1]
    assert not os.path.exists(f"/proc/{worker}")


def test_results_that_cannot_be_written_end_it(tmp_path):
    done = ferry("simulate", *MODEL, "-o", str(tmp_path / "no" / "file"))
    assert done.returncode == 1 and "No such file" in done.stderr
    done = ferry("simulate", *LONG, "--no-bounds", "--jobs", "2", "-o", "/dev/full", "--until",
                 "1ms,600s", "--seed", "1,2,3", "--policy", "qemu")
    assert done.returncode == 1 and "No space left" in done.stderr, done.stderr
    assert "until=600s" not in done.stdout
