"""ferry report: what is drawn from which results, and that nothing in a file means anything to
gnuplot or to a browser."""
import csv
import html.parser
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree

import pytest

from ferry_program import FERRY, ferry
from traces import write_trace

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SWEEP = os.path.join(ROOT, "tests", "vectors", "results", "sweep.jsonl")
LIVE = os.path.join(ROOT, "tests", "vectors", "results", "convergence.jsonl")
HOSTILE = ("</svg><script>x()</script>\u202e'; system(\"touch owned\"); `touch owned` @x {/=99 y}"
           "\n$(z)")

pytestmark = pytest.mark.skipif(not shutil.which("gnuplot"), reason="there is no gnuplot here")


def report(out, *words, formats="svg"):
    return ferry("report", "-o", str(out), "--format", formats, *map(str, words))


def good(out, *words, **more):
    done = report(out, *words, **more)
    assert done.returncode == 0, done.stderr
    return read(out / "index.html")


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def table(path):
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def a_run(name="a", policy="ferry", **more):
    return {"type": "run", "id": name, "kind": "simulate", "command": ["ferry", "simulate", name],
            "seed": 1, "policy": policy, "workload": "uniform,size=1M,rate=5", "outcome": "done",
            "ram_bytes": 1 << 20, "total_ms": 100, "precopy_ms": 90, "downtime_ms": 10,
            "downtime_limit_ms": 30, **more}


def a_round(name="a", number=1, **more):
    return {"type": "round", "id": name, "number": number, "t_ms": 45 * number, "sent_pages": 256,
            "zero_pages": 10, "packed_pages": 0, "false_dirty_pages": 64, "dirtied_pages": 20,
            "sent_bytes": 1000000, "remaining_bytes": 81920, "threshold_bytes": 50000,
            "bytes_per_second": 1000000, "dirty_pages_per_second": 400, **more}


class Page(html.parser.HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.fetched = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            self.ids += [value] if name == "id" else []
            self.fetched += [value] if name in ("src", "xlink:href") or \
                (name == "href" and tag != "a") else []
            assert not name.startswith("on"), name


def files_of(folder):
    paths = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    found = {}
    for path in paths:
        with open(path, "rb") as f:
            found[os.path.relpath(path, folder)] = f.read()
    return found


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "out"
    good(out, SWEEP)
    return out


def test_a_sweep_has_every_figure_with_its_data_and_script(sweep):
    names = {name[:-4] for name in os.listdir(sweep) if name.endswith(".svg")}
    assert names == {"remaining", "rates", "rounds", "throttle", "downtime", "expected",
                     "dirty-rate", "against-bandwidth", "residual-1", "residual-2"}
    for name in names:
        xml.etree.ElementTree.parse(sweep / f"{name}.svg")
        assert table(sweep / "data" / f"{name}.csv") and (sweep / "data" / f"{name}.gp").exists()


def test_the_page_needs_nothing_else(sweep):
    text = read(sweep / "index.html")
    page = Page(text)
    assert page.tags.count("svg") == page.tags.count("figure") == 10
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert all(value.startswith(("#", "data:")) for value in page.fetched), page.fetched
    assert len(page.ids) == len(set(page.ids)), "ids of one figure are another's"
    assert "@import" not in text and "@media print" in text
    inside = {value[1:] for value in page.fetched if value.startswith("#")}
    assert inside <= set(page.ids)


def test_commands_and_seeds_stand_by_the_figures(sweep):
    text = read(sweep / "index.html")
    first = text[text.index('id="remaining"'):]
    assert re.search(r"<pre>ferry simulate [^<]*--policy ferry[^<]*# seed \d\n",
                     first[:first.index("</figure>")])
    downtime = text[text.index('id="downtime"'):]
    assert "--policy ferry,qemu" in downtime[:downtime.index("</figure>")]


def test_metrics_have_the_names_of_the_field(sweep):
    text = read(sweep / "index.html")
    for name in ["total migration time (TMT)", "downtime p50 / p95 / p99", "total data transferred",
                 "amplification, × guest RAM", "rounds", "false-dirty pages", "page dirty rate",
                 "bandwidth: wire", "bandwidth: page-equivalent", "expected downtime",
                 "throttle integral", "distance R/R*", "distance R/R_k", "distance T/T*"]:
        assert f"<th>{name}" in text, name


def test_the_same_input_gives_the_same_bytes(sweep, tmp_path):
    good(tmp_path / "again", SWEEP)
    assert files_of(sweep) == files_of(tmp_path / "again")


def test_a_script_draws_its_figure_again(sweep, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(sweep, copy)
    (copy / "downtime.svg").unlink()
    subprocess.run(["gnuplot", "--default-settings", "downtime.gp"], cwd=copy / "data", check=True,
                   timeout=60)
    assert read(copy / "downtime.svg") == read(sweep / "downtime.svg")


def test_numbers_are_those_of_the_file(sweep):
    with open(SWEEP, encoding="utf-8") as f:
        runs = [line for line in map(json.loads, f) if line["type"] == "run"]
    rows = table(sweep / "data" / "runs.csv")
    assert [row["id"] for row in rows] == [run["id"] for run in runs]
    for row, run in zip(rows, runs):
        for name in ["total_ms", "downtime_ms", "wire_bytes", "rounds"]:
            assert (row[name] == "") == (name not in run), name
            assert row[name] == "" or float(row[name]) == pytest.approx(run[name], rel=1e-9), name
        assert float(row["bounds.causal_bytes"]) == run["bounds"]["causal_bytes"]
    shares = [float(row["share"]) for row in table(sweep / "data" / "downtime.csv")
              if row["policy"] == "ferry"]
    assert shares == sorted(shares) and shares[0] == 0
    done = [run for run in runs if run["policy"] == "ferry" and run["outcome"] == "done"]
    assert shares[-1] == len(done) / sum(run["policy"] == "ferry" for run in runs)


def test_every_member_of_the_format_is_a_column(sweep):
    text = read(os.path.join(ROOT, "docs", "results.md"))
    bounds = text[text.index("`bounds`: "):]
    columns = set(table(sweep / "data" / "runs.csv")[0])
    known = set(re.findall(r"`(\w+)`", bounds[:bounds.index("`verdict`")])) - {"bounds"}
    assert len(known) == 10 and {f"bounds.{name}" for name in known} <= columns


def test_medians_and_whiskers_of_a_varied_parameter(tmp_path):
    def run(rate, seed, **more):
        return a_run(f"bandwidth={rate} queue={rate // 10} seed={seed}",
                     bandwidth_bytes_per_second=rate, queue_bytes=rate // 10, **more)

    runs = [run(mb * 10**6, i, total_ms=mb * 1000 + i) for mb in (1, 2) for i in (1, 2, 6)]
    runs.append(run(2 * 10**6, 7, outcome="unfinished", total_ms=9e9))
    good(tmp_path / "out", write(tmp_path / "r", *runs))
    rows = table(tmp_path / "out" / "data" / "against-bandwidth.csv")
    assert [(row["runs"], row["done"], row["total_ms"], row["total_min_ms"], row["total_max_ms"])
            for row in rows] == [("3", "3", "1002", "1001", "1006"),
                                 ("4", "3", "2002", "2001", "2006")]
    assert not (tmp_path / "out" / "against-queue.svg").exists(), "it follows from the bandwidth"


def test_rounds_are_split_by_kind(tmp_path):
    good(tmp_path / "out", write(tmp_path / "r", a_round(), a_run()))
    row = table(tmp_path / "out" / "data" / "rounds.csv")[0]
    assert float(row["zero_bytes"]) == 90
    assert float(row["false_dirty_bytes"]) == (1000000 - 90) / 4
    assert sum(float(row[k]) for k in row if k.endswith("_bytes")) == 1000000


def test_chosen_runs_are_shown_over_time(tmp_path):
    lines = [line for name in "abcdef" for line in (a_round(name), a_run(name))]
    path = write(tmp_path / "r", *lines)
    text = good(tmp_path / "out", path, "--run", "e", "--run", "b")
    part = text[text.index('id="remaining"'):]
    assert re.findall(r"ferry simulate (\w)", part[:part.index("</figure>")]) == ["e", "b"]
    done = report(tmp_path / "no", path, "--run", "zz")
    assert done.returncode == 1 and "--run zz: there is no such run" in done.stderr


def test_labels_mean_nothing(tmp_path):
    runs = [a_run(HOSTILE + str(i), policy=HOSTILE, workload=HOSTILE + f",{HOSTILE}={i}",
                  precopy_ms=80 + i, bounds={"residual_bytes": 5}, on_stall=HOSTILE + str(i),
                  predicted_downtime_ms=9, error=HOSTILE, command=["ferry", HOSTILE])
            for i in range(3)]
    rounds = [a_round(run["id"], throttle_percent=5, dirty_pages_per_second=400 * (i + 1))
              for i, run in enumerate(runs)]
    write_trace(tmp_path / "t.pdt", [(HOSTILE.replace("\n", ""), 100)], [{1, 2}, {3}],
                guest=HOSTILE, curve=[[10**8, 1], [2 * 10**8, 2]])
    out = tmp_path / "out"
    text = good(out, write(tmp_path / "r", *runs, *rounds), "--trace", tmp_path / "t.pdt",
                "--title", HOSTILE, formats="svg,png")
    page = Page(text)
    assert "script" not in page.tags and page.tags.count("figure") >= 9
    assert "\u202e" not in text and "&lt;script&gt;" in text
    assert not [name for name in files_of(tmp_path) if "owned" in name]
    for name in os.listdir(out):
        if name.endswith(".svg"):
            tree = xml.etree.ElementTree.parse(out / name)
            assert not [e for e in tree.iter() if e.tag.endswith("script")], name


@pytest.mark.parametrize("line, words", [
    ("nonsense", "line 2: "),
    ("[1]", "line 2: it is no JSON object"),
    ("{\"a\": 1}", "line 2: there is no 'type'"),
    ('{"type": "walk"}', "line 2: the type 'walk' is none of"),
    ('{"type": "run"}', "line 2: there is no 'id'"),
    (json.dumps(a_run()), "line 2: there is a run 'a' already"),
    (json.dumps(a_run("b", total_ms=-1)), "line 2: 'total_ms' is negative"),
    (json.dumps(a_run("b", total_ms="1")), "line 2: 'total_ms' is no number"),
    (json.dumps(a_run("b", policy=7)), "line 2: 'policy' is no text"),
    (json.dumps(a_run("b", policy="p" * 5000)), "line 2: 'policy' is longer than"),
    (json.dumps(a_run("b", command="ls")), "line 2: 'command' is no array"),
    (json.dumps(a_run("b", bounds=[])), "line 2: 'bounds' is no object"),
    ('{"type": "round", "id": "a"}', "line 2: a round needs"),
    ('{"type": "bound", "trace": "t", "series": [[1, 2]]}', "line 2: element 0 of 'series'"),
    ("[" * 100000, "line 2: it is nested deeper"),
    ('{"a": "\\\\", "b": ' + "[" * 100, "line 2: it is nested deeper"),
    ('{"type": "run", "id": "b", "total_ms": 1e999}', "line 2: "),
    ("{\0}", "line 2: it is not UTF-8"),
], ids=range(18))
def test_a_bad_line_is_named_and_nothing_written(tmp_path, line, words):
    path = write(tmp_path / "r", a_run())
    path.write_text(path.read_text() + line + "\n")
    done = report(tmp_path / "out", path)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_rounds_of_a_run_that_was_not_over_are_left_out(tmp_path):
    text = good(tmp_path / "out", write(tmp_path / "r", a_run(), a_round("gone")))
    assert "1 runs have rounds but no line of type run" in text


def test_files_are_apart(tmp_path):
    for name in "xy":
        write(tmp_path / name, a_run("a", policy=name), a_round("a"))
    good(tmp_path / "out", tmp_path / "x", tmp_path / "y")
    assert [row["policy"] for row in table(tmp_path / "out" / "data" / "runs.csv")] == ["x", "y"]


def test_without_gnuplot_nothing_is_written(tmp_path):
    done = subprocess.run([FERRY, "report", SWEEP, "-o", str(tmp_path / "out"), "--json"],
                          capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "PATH": str(tmp_path)})
    assert done.returncode == 1 and "there is no gnuplot here" in done.stderr
    assert json.loads(done.stdout)["status"] == "failed"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words, what", [
    ([SWEEP], "-o DIR is missing"),
    (["-o", "x"], "neither results nor a --trace"),
    ([SWEEP, "-o", "x", "--format", "gif"], "--format takes"),
])
def test_usage(words, what):
    done = ferry("report", *words)
    assert done.returncode == 2 and what in done.stderr


def test_no_such_file(tmp_path):
    done = report(tmp_path / "out", tmp_path / "none")
    assert done.returncode == 1 and "No such file" in done.stderr


def test_png_alone_is_in_the_page(tmp_path):
    out = tmp_path / "out"
    text = good(out, write(tmp_path / "r", a_run(), a_round()), formats="png")
    assert not [name for name in os.listdir(out) if name.endswith(".svg")]
    assert read_png_size(out / "downtime.png")[0] == 1800
    assert 'src="data:image/png;base64,' in text


def read_png_size(path):
    with open(path, "rb") as f:
        data = f.read(24)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def test_json_names_what_was_written(tmp_path):
    done = report(tmp_path / "out", write(tmp_path / "r", a_run()), "--json")
    told = json.loads(done.stdout)
    assert told["status"] == "done" and told["runs"] == 1
    for figure in told["figures"]:
        assert all((tmp_path / "out" / figure[k]).exists() for k in ("svg", "csv", "script"))


def test_bounds_are_drawn_as_a_band(tmp_path):
    bound = {"type": "bound", "trace": "t.pdt", "bandwidth_bytes_per_second": 1000,
             "command": ["ferry", "bound", "t.pdt"],
             "series": [[t, 1000 - t, 1100 - t, 900] for t in range(0, 500, 100)]}
    run = a_run(trace="t.pdt", bandwidth_bytes_per_second=1000, bounds={"residual_bytes": 950})
    del run["workload"]
    text = good(tmp_path / "out", write(tmp_path / "r", bound, run))
    rows = table(tmp_path / "out" / "data" / "residual-1.csv")
    assert [row["what"] for row in rows] == ["bound"] * 5 + ["run"]
    assert "filledcurves" in read(tmp_path / "out" / "data" / "residual-1.gp")
    assert "ferry bound t.pdt" in text


def test_a_trace_is_drawn(tmp_path):
    frames = [{0, 1, 2, 3} if i % 2 else {96 + i} for i in range(20)]
    write_trace(tmp_path / "t.pdt", [("pc.ram", 128), ("vga.vram", 64)], frames,
                curve=[[10**8, 3], [2 * 10**9, 14]], licence="CC0-1.0")
    text = good(tmp_path / "out", "--trace", tmp_path / "t.pdt")
    assert "licence: CC0-1.0." in text and "20 frames in 2 s, 14 distinct pages" in text
    rows = table(tmp_path / "out" / "data" / "trace-1-pages.csv")
    times = sorted({float(row["t_ms"]) for row in rows})
    assert len(times) == 20 and len(rows) == 20 * 96
    pages_per_range, seconds = 192 / 96, 0.1
    for i, frame in enumerate(frames):
        column = [row for row in rows if float(row["t_ms"]) == times[i]]
        written = {int(row["first_byte"]) // 4096: float(row["writes_per_page_and_second"]) *
                   pages_per_range * seconds for row in column}
        assert {first: n for first, n in written.items() if n} == pytest.approx(
            {first: len(frame & {first, first + 1}) for first in range(0, 192, 2)
             if frame & {first, first + 1}})
    assert [row["bytes"] for row in table(tmp_path / "out" / "data" / "trace-1-curve.csv")] == \
        [str(3 * 4096), str(14 * 4096)]


def test_a_trace_that_was_cut_is_drawn_up_to_there(tmp_path):
    write_trace(tmp_path / "t.pdt", [("pc.ram", 128)], [{1}, {2}, {3}], is_ended=False)
    text = good(tmp_path / "out", "--trace", tmp_path / "t.pdt")
    assert "ends early: it was not finished" in text


def test_what_is_no_trace_is_refused(tmp_path):
    (tmp_path / "t.pdt").write_bytes(b"\x89PDT\r\n\x1a\n" + bytes(100))
    done = report(tmp_path / "out", "--trace", tmp_path / "t.pdt")
    assert done.returncode == 1 and "t.pdt" in done.stderr and not (tmp_path / "out").exists()


def test_lines_of_bench_convergence(tmp_path):
    text = good(tmp_path / "out", LIVE)
    assert {row["policy"] for row in table(tmp_path / "out" / "data" / "runs.csv")} == \
        {"qemu", "ferry"}
    assert "Downtime: how it is spread" in text


def test_many_points_are_thinned_in_the_figure_alone(tmp_path):
    runs = [a_run(str(i), predicted_downtime_ms=i % 100, command=[]) for i in range(4000)]
    text = good(tmp_path / "out", write(tmp_path / "r", *runs))
    assert "Of 4000 points one in 3 is drawn." in text
    assert len(table(tmp_path / "out" / "data" / "expected.csv")) == 4000
    assert 'The other 3900 are in <a href="data/runs.csv">' in text


def test_a_policy_simulated_and_real_is_two_series(tmp_path):
    case = "trace=t.pdt bandwidth=1M seed=1 policy=ferry"
    paths = [write(tmp_path / kind, a_round(case), a_run(case, kind=kind, verified=len(kind)))
             for kind in ("simulate", "replay")]
    text = good(tmp_path / "out", *paths)
    assert "<th>ferry, simulate</th><th>ferry, replay</th>" in text
    assert "<p>2 runs in 2 series" in text
    script = read(tmp_path / "out" / "data" / "remaining.gp")
    assert "set title 'ferry, simulate' " in script and "set title 'ferry, replay' " in script
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith("against-")], \
        "what was not given is no parameter"


def test_all_commands_stand_by_a_figure_of_all(tmp_path):
    swept = write(tmp_path / "s", {"type": "sweep", "command": ["ferry", "simulate", "all"]},
                  a_run("a"), a_run("b"))
    text = good(tmp_path / "out", swept, write(tmp_path / "r", a_run("c")))
    part = text[text.index('id="downtime"'):]
    assert "<pre>ferry simulate all\nferry simulate c   # seed 1\n</pre>" in part
