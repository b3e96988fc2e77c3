"""ferry predict against a monitor and with traces; what the figures are worth is the simulator's to
show."""
import json
import os
import random

import pytest

from ferry_program import ferry
from monitor import PARAMETERS, Monitor

MIB = 1 << 20
FERRY_VERSION = {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": "ferry 0.1.0"}
QEMU_7_2 = {"qemu": {"major": 7, "minor": 2, "micro": 9}, "package": "Debian 1:7.2"}
QEMU_10 = {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}
FEW = ["--runs", "5"]


def curve(pages, rate):
    """Uniform writes, as calc-dirty-rate tells of them."""
    windows = [{"ms": ms, "pages": round(pages * (1 - 2.718281828 ** (-rate / pages * ms / 1000)))}
               for ms in (10, 20, 50, 100, 200, 500, 1000)]
    return {"status": "measured", "dirty-rate": 1, "x-ferry": {
        "windows": windows, "ram-bytes": 256 * MIB, "sampled-pages": 1000,
        "sampled-zero-pages": 700}}


def measured(mib_per_second):
    return {"status": "measured", "dirty-rate": mib_per_second, "mode": "dirty-bitmap"}


def a_ferry(**more):
    return Monitor(query_version=FERRY_VERSION, **{"query_dirty_rate": curve(4096, 2000), **more})


def a_qemu(version, rate, kvm=True, **more):
    return Monitor(query_version=version, query_dirty_rate=measured(rate),
                   query_kvm={"enabled": kvm, "present": True},
                   query_memory_size_summary={"base-memory": 512 * MIB, "plugged-memory": 0},
                   **more)


def test_a_ferry_is_asked_and_the_answer_explained():
    with a_ferry() as m:
        done = ferry("predict", "--qmp", m.address, "--bandwidth", "64M", *FEW)
    assert done.returncode == 0, done.stderr
    words = done.stdout
    for word in ["256.0 MiB of RAM, 70 % of it zeros", "link 64.0 MiB/s", "policy ferry",
                 "downtime limit 300 ms", "meets: 5 of 5", "rounds", "total time", "data",
                 "least downtime", "suggested"]:
        assert word in words, words


def test_the_same_answers_give_the_same_prediction():
    said = []
    for _ in range(2):
        with a_ferry() as m:
            said.append(ferry("predict", "--qmp", m.address, "--bandwidth", "64M", "--json",
                              *FEW).stdout)
    assert said[0] == said[1] and said[0].count("\n") == 1


def test_json_has_intervals_in_order():
    with a_ferry() as m:
        done = ferry("predict", "--qmp", m.address, "--bandwidth", "64M", "--json", *FEW)
    told = json.loads(done.stdout)
    assert told["verdict"] == "meets" and told["runs"] == told["met"] == 5
    for key in ["rounds", "total_ms", "sent_bytes", "downtime_ms", "least_downtime_ms",
                "needed_bytes_per_second", "throttle_percent"]:
        assert told[key]["p5"] <= told[key]["p50"] <= told[key]["p95"], key
    assert 76 * MIB < told["sent_bytes"]["p50"] < 120 * MIB
    assert told["downtime_ms"]["p95"] <= 330
    assert told["suggested"] == {"downtime-limit": 300, "x-ferry-on-stall": "wait",
                                 "bandwidth_bytes_per_second": told["needed_bytes_per_second"]["p95"]}
    assert sum(c["pages"] for c in told["model"]) == 65536


def test_a_guest_that_outruns_the_link_is_status_4():
    with a_ferry(query_dirty_rate=curve(16384, 40000)) as m:
        done = ferry("predict", "--qmp", m.address, "--bandwidth", "32M", "--json",
                     "--patience", "6", *FEW)
    told = json.loads(done.stdout)
    assert done.returncode == 4 and told["verdict"] == "stalls" and told["met"] == 0
    assert told["downtime_ms"]["p50"] is None
    # 16384 pages, u = 40000 / 8190: 0.795 of them stay dirty, which take 1.59 s.
    assert 1300 < told["least_downtime_ms"]["p50"] < 1900
    assert told["suggested"]["downtime-limit"] >= 1300
    assert 70 <= told["throttle_percent"]["p50"] <= 90


def test_what_the_monitor_is_set_to_counts():
    answers = {**PARAMETERS, "max-bandwidth": 16 * MIB, "downtime-limit": 77,
               "x-ferry-policy": "fixed-rounds=3"}
    with a_ferry(query_migrate_parameters=answers) as m:
        told = json.loads(ferry("predict", "--qmp", m.address, "--json", *FEW).stdout)
    assert told["policy"] == "fixed-rounds" and told["downtime_limit_ms"] == 77
    assert told["link_bytes_per_second"] == 16 * MIB and told["rounds"]["p50"] == 4
    with a_ferry(query_migrate_parameters=answers) as m:
        told = json.loads(ferry("predict", "--qmp", m.address, "--json", "--bandwidth", "1Gbit/s",
                                "--policy", "qemu", "--downtime-limit", "1s", *FEW).stdout)
    assert told["policy"] == "qemu" and told["downtime_limit_ms"] == 1000
    assert told["link_bytes_per_second"] == 125000000
    assert told["max_bandwidth_bytes_per_second"] == 16 * MIB


def asked(monitor):
    return [a for name, a in monitor.commands if name == "calc-dirty-rate"]


def test_an_old_qemu_is_asked_in_seconds():
    with a_qemu(QEMU_7_2, 20) as m:
        done = ferry("predict", "--qmp", m.address, "--json", "--measure", "2", *FEW)
    told = json.loads(done.stdout)
    assert asked(m) == [{"calc-time": 1, "mode": "dirty-bitmap"},
                        {"calc-time": 2, "mode": "dirty-bitmap"}]
    assert told["guest"]["seen_by"] == "QEMU 7.2" and told["policy"] == "qemu-7.2"
    assert told["guest"]["ram_bytes"] == 512 * MIB and "zero_bytes" not in told["guest"]


def test_a_new_qemu_is_asked_for_shorter_times_too():
    with a_qemu(QEMU_10, 20) as m:
        done = ferry("predict", "--qmp", m.address, "--json", "--measure", "2", *FEW)
    assert [a["calc-time"] for a in asked(m)] == [50, 200, 1000, 2000]
    assert all(a["calc-time-unit"] == "millisecond" for a in asked(m))
    assert json.loads(done.stdout)["policy"] == "qemu"


def test_a_qemu_without_kvm_samples_pages():
    with a_qemu(QEMU_7_2, 20, kvm=False) as m:
        done = ferry("predict", "--qmp", m.address, "--json", "--measure", "2", *FEW)
    assert done.returncode == 0, done.stderr
    assert [a["mode"] for a in asked(m)] == ["page-sampling", "page-sampling"]


def test_zeros_can_be_told():
    with a_qemu(QEMU_7_2, 1) as m:
        done = ferry("predict", "--qmp", m.address, "--json", "--measure", "2", "--zeros", "90",
                     *FEW)
    assert json.loads(done.stdout)["sent_bytes"]["p95"] < 100 * MIB


@pytest.mark.parametrize("answers, words", [
    ({"calc_dirty_rate": Exception("no, not now")}, "no, not now"),
    ({"query_dirty_rate": {"status": "unstarted", "x-ferry": {"error": "the log broke"}}},
     "the log broke"),
    ({"query_dirty_rate": []}, "no object"),
    ({"query_dirty_rate": {"status": "measured", "x-ferry": {"windows": [1, {}, {"ms": "x"}]}}},
     "tells of no memory"),
    ({"query_dirty_rate": {"status": "measured", "x-ferry": {"windows": [], "ram-bytes": -1}}},
     "tells of no memory"),
    ({"query_dirty_rate": {"status": "measured", "x-ferry": {
        "windows": [{"ms": 1, "pages": 1}], "ram-bytes": 1 << 62}}}, "tells of no memory"),
    ({"query_migrate_parameters": 7}, "no object"),
    ({"query_migrate_parameters": {"x-ferry-policy": "guess", "max-bandwidth": 1000000}},
     "the guest's policy 'guess' is unknown"),
    ({"query_migrate_parameters": {}}, "--bandwidth is needed"),
])
def test_what_a_monitor_may_answer_is_refused_with_its_reason(answers, words):
    with a_ferry(**answers) as m:
        done = ferry("predict", "--qmp", m.address, "--timeout", "2", *FEW)
    assert done.returncode in (1, 2) and words in done.stderr, done.stderr


@pytest.mark.parametrize("words, why", [
    ([], "one of --qmp and --trace"),
    (["--qmp", "unix:/x", "--trace", "y"], "one of --qmp and --trace"),
    (["--qmp", "unix:/x", "--bandwidth", "fast"], "fast"),
    (["--qmp", "unix:/x", "--bandwidth", "0"], "1 KiB/s or more"),
    (["--qmp", "unix:/x", "--downtime-limit", "0"], "1 to 2000000"),
    (["--qmp", "unix:/x", "--policy", "best"], "there is no such policy"),
    (["--qmp", "unix:/x", "--runs", "0"], "1 to 1000"),
    (["--qmp", "unix:/x", "--measure", "61"], "0.05 to 60"),
    (["--qmp", "unix:/x", "--timeout", "-1"], "above 0"),
    (["--qmp", "unix:/x", "--patience", "1e9"], "at most 3600"),
    (["--qmp", "nowhere"], "nowhere"),
])
def test_mistakes_are_status_2(words, why):
    done = ferry("predict", *words)
    assert done.returncode == 2 and why in done.stderr, done.stderr


@pytest.fixture(name="trace")
def _trace(tmp_path):
    def write(text):
        path = os.path.join(tmp_path, "trace.csv")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path
    return write


def test_a_trace_is_as_good_as_a_guest(trace):
    chance = random.Random(1)
    lines = ["t_ms,block,first_page,n"]
    for frame in range(100):
        lines += [f"{10 * frame},pc.ram,{chance.randrange(4096)},1" for _ in range(20)]
    done = ferry("predict", "--trace", trace("\n".join(lines)), "--bandwidth", "64M", "--json",
                 "--ram", "64M", "--zeros", "50", *FEW)
    told = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert told["verdict"] == "meets" and told["guest"]["ram_bytes"] == 64 * MIB
    written = told["guest"]["written"][0]
    assert [round(w["window_ms"]) for w in written] == [10, 20, 50, 100, 200]
    assert written[0]["written_bytes"] == pytest.approx(20 * 4096, rel=0.2)
    assert 28 * MIB < told["sent_bytes"]["p50"] < 45 * MIB


@pytest.mark.parametrize("text, words", [
    ("", "two moments"),
    ("1,a,0,1\n1,a,0,1\n", "two moments"),
    ("1,a,0\n", "line 1: not t_ms,block,first_page,n"),
    ("t_ms,block,first_page,n\n1,a,0,1,7\n", "line 2: not t_ms"),
    ("x,a,0,1\n", "t_ms is no time"),
    ("nan,a,0,1\n", "t_ms is no time"),
    ("-1,a,0,1\n", "t_ms is no time"),
    ("2,a,0,1\n1,a,0,1\n", "line 2: the time went back"),
    ("1,,0,1\n", "block is no name"),
    ("1,a,-1,1\n", "are no pages"),
    ("1,a,0,0\n", "two moments"),
    ("1,a,268435455,2\n", "are no pages"),
    ("1,a,99999999999999999999,1\n", "are no pages"),
    ("1," + "a" * 2000 + ",0,1\n", "line 1: it is too long"),
])
def test_a_bad_trace_is_refused_by_its_line(trace, text, words):
    done = ferry("predict", "--trace", trace(text), "--bandwidth", "64M", *FEW)
    assert done.returncode == 1 and words in done.stderr, done.stderr


def test_a_trace_larger_than_the_memory_is_a_mistake(trace):
    path = trace("1,a,0,1000\n2,a,0,1\n")
    done = ferry("predict", "--trace", path, "--bandwidth", "64M", "--ram", "1M", *FEW)
    assert done.returncode == 2 and "the trace writes 4000 KiB" in done.stderr
    done = ferry("predict", "--trace", path + ".not", "--bandwidth", "64M", *FEW)
    assert done.returncode == 1 and "No such file" in done.stderr
