"""bench/sweep: a sweep in chunks on two cores is the sweep that one ferry simulate makes."""
import json
import os
import shutil
import subprocess

import pytest

from ferry_program import FERRY, ferry

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SWEEP = os.path.join(ROOT, "bench", "sweep")
MODELS = ["uniform,size=4M,rate=500", "uniform,size=4M,rate=900"]
CONFIG = {
    "ferry": FERRY, "output": "out", "title": "Two 'models'",
    "simulate": {"workload": MODELS, "ram": "8M", "bandwidth": ["4M", "8M"],
                 "auto-converge": [True, False], "seed": [1, 2], "policy": ["ferry", "qemu"]},
    "split": ["workload", "bandwidth"], "flags": ["rounds", "reproducible"],
    "report": ["--format", "svg"],
}
pytestmark = pytest.mark.skipif(not shutil.which("snakemake") or not shutil.which("gnuplot"),
                                reason="there is no snakemake or no gnuplot here")


def snakemake(folder, config, *more):
    (folder / "c.json").write_text(json.dumps(config), encoding="utf-8")
    return subprocess.run(["snakemake", "-s", os.path.join(SWEEP, "Snakefile"), "--configfile",
                           "c.json", "-c2", "--nocolor", *more], cwd=folder, capture_output=True,
                          text=True, timeout=280, check=False, stdin=subprocess.DEVNULL,
                          env={**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": str(folder)})


def test_chunks_make_what_a_single_run_makes(tmp_path):
    done = snakemake(tmp_path, CONFIG)
    assert done.returncode == 0, done.stderr
    assert len(os.listdir(tmp_path / "out" / "chunks")) == 4
    single = ferry("simulate", "--workload", MODELS[0], "--workload", MODELS[1], "--ram", "8M",
                   "--bandwidth", "4M,8M", "--auto-converge", "on,off", "--seed", "1,2", "--policy",
                   "ferry,qemu", "--rounds", "--reproducible", "-o", str(tmp_path / "single"))
    assert single.returncode == 0, single.stderr
    ours = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    theirs = (tmp_path / "single").read_text().splitlines()
    assert ours[1:] == theirs[1:]
    ours, theirs = json.loads(ours[0]), json.loads(theirs[0])
    assert (ours["varied"], ours["runs"]) == (theirs["varied"], theirs["runs"])
    page = (tmp_path / "out" / "report" / "index.html").read_text(encoding="utf-8")
    assert "<h1>Two &apos;models&apos;</h1>" in page and "32 runs under 2 policies" in page
    again = snakemake(tmp_path, CONFIG, "--dry-run")
    assert "Nothing to be done" in again.stderr + again.stdout


def test_what_is_split_must_be_varied(tmp_path):
    done = snakemake(tmp_path, {**CONFIG, "split": ["queue"]}, "--dry-run")
    assert done.returncode != 0 and "split names queue" in done.stderr + done.stdout
