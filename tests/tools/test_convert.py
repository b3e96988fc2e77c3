"""ferry convert: what goes in comes out, and what is no trace is refused with its line."""
import json
import os
import random
import struct

import pytest

from ferry_program import FERRY, ferry
from pdt_writer import Trace


def convert(source, target, *more, status=0, **kept):
    done = ferry("convert", str(source), str(target), *more, **kept)
    assert done.returncode == status, done.stderr
    return done


def frames_of(path, tmp_path, *more):
    """Lines of JSON: the header, what was known at first, frames."""
    convert(path, tmp_path / "look.jsonl", *more)
    lines = [json.loads(line) for line in (tmp_path / "look.jsonl").read_text().splitlines()]
    assert lines[0]["type"] == "trace" and lines[-1]["type"] == "end"
    frames = [line for line in lines if line["type"] == "frame"]
    assert lines[-1]["frames"] == len(frames)
    return lines[0]["header"], [l for l in lines if l["type"] == "classes"], frames


@pytest.fixture
def rich(tmp_path):
    """All that a frame may say."""
    trace = Trace(0, classes=[0] * 500 + [17] * 500, blocks=[
        {"name": "pc.ram", "pages": 900}, {"name": "vga,vram", "pages": 100, "gpa": 1 << 32}],
        interval_ns=10_000_000, start_wall_ns=10 ** 18, workload="made by hand", seed=7)
    draw = random.Random(5)
    for number in range(400):
        runs, at = [], draw.randrange(3)
        while at < 990 and len(runs) < 40:
            n = draw.randrange(1, 10)
            runs.append((at, n))
            at += n + draw.randrange(1, 60)
        count = sum(n for _, n in runs)
        if number % 3 == 0:
            trace.frame(10.5, runs, classes=[draw.randrange(18) for _ in range(count)],
                        quarters=[draw.randrange(4) for _ in range(count)], throttle=20,
                        ran_ms=8)
        else:
            trace.frame(10, [] if number % 7 == 0 else runs)
    return trace.save(tmp_path / "rich.pdt")


def test_a_trace_written_again_says_the_same(rich, tmp_path):
    convert(rich, tmp_path / "again.pdt")
    one, another = frames_of(rich, tmp_path), frames_of(tmp_path / "again.pdt", tmp_path)
    assert one == another
    assert one[0]["workload"] == "made by hand" and one[0]["seed"] == 7
    assert one[1][0]["classes"] == [[500, 0], [500, 17]]
    assert one[2][0]["throttle_percent"] == 20 and one[2][0]["ran_ns"] == 8_000_000
    assert sum(n for n, _ in one[2][0]["quarters"]) == one[2][0]["pages"]
    assert not os.path.exists(tmp_path / "again.pdt.part")


def test_csv_there_and_back(rich, tmp_path):
    convert(rich, tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[:4] == ["t_ms,block,first_page,n", "#page_bytes,4096", "#block,pc.ram,900",
                         "#block,vga_vram,100"]
    convert(tmp_path / "t.csv", tmp_path / "back.pdt")
    convert(tmp_path / "back.pdt", tmp_path / "t2.csv")
    assert (tmp_path / "t2.csv").read_text().splitlines() == lines
    was, now = frames_of(rich, tmp_path), frames_of(tmp_path / "back.pdt", tmp_path)
    assert [(f["begin_ns"], f["span_ns"], f["runs"]) for f in was[2]] == \
           [(f["begin_ns"], f["span_ns"], f["runs"]) for f in now[2]]
    assert now[0]["method"] == "import" and "t.csv" in now[0]["provenance"]
    assert [b["pages"] for b in now[0]["blocks"]] == [900, 100]


def test_pages_in_any_order_and_over_one_another(tmp_path):
    (tmp_path / "t.csv").write_text("10,b,5,3\n10,a,0,2\n10,b,0,6\n10,b,8,1\n25,a,1,1\n")
    header, _, frames = frames_of(tmp_path / "t.csv", tmp_path, "--ram", "1M")
    assert [(b["name"], b["pages"]) for b in header["blocks"]] == [("b", 9), ("a", 247)]
    assert [(f["span_ns"], f["runs"]) for f in frames] == [
        (10_000_000, [[0, 11]]), (15_000_000, [[10, 1]])]


def test_times_since_1970_begin_a_step_before_the_first(tmp_path):
    (tmp_path / "t.csv").write_text("1700000000000,a,0,1\n1700000000100,a,0,1\n")
    header, _, frames = frames_of(tmp_path / "t.csv", tmp_path)
    assert header["start_wall_ns"] == 1699999999900 * 10 ** 6
    assert [(f["begin_ns"], f["span_ns"]) for f in frames] == [
        (0, 100_000_000), (100_000_000, 100_000_000)]


def test_standard_input_and_output(tmp_path):
    text = "t_ms,block,first_page,n\n10,a,0,1\n20,a,3,4\n"
    done = ferry_with_input(text, "convert", "-", "-", "--from", "csv", "--to", "csv")
    assert done.stdout.decode().splitlines() == [
        "t_ms,block,first_page,n", "#page_bytes,4096", "#block,a,7", "10,a,0,1", "20,a,3,4"]
    done = ferry_with_input(text, "convert", "-", "-", "--from", "csv", "--to", "pdt")
    (tmp_path / "out.pdt").write_bytes(done.stdout)
    assert len(frames_of(tmp_path / "out.pdt", tmp_path)[2]) == 2


def ferry_with_input(text, *words):
    import subprocess
    return subprocess.run([FERRY, *words], input=text.encode(), capture_output=True, timeout=100,
                          check=True)


def test_a_part_of_it(rich, tmp_path):
    _, _, whole = frames_of(rich, tmp_path)
    convert(rich, tmp_path / "part.pdt", "--from-ms", "100", "--until-ms", "1000")
    header, classes, part = frames_of(tmp_path / "part.pdt", tmp_path)
    kept = [f for f in whole if f["begin_ns"] >= 100_000_000
            and f["begin_ns"] + f["span_ns"] <= 1_000_000_000]
    assert [f["runs"] for f in part] == [f["runs"] for f in kept] and len(part) > 80
    assert part[0]["begin_ns"] == 0
    assert header["start_wall_ns"] == 10 ** 18 + kept[0]["begin_ns"]
    # What pages hold where it begins: the last that was said, or nothing of what was overwritten.
    holds = [0] * 500 + [17] * 500
    for f in whole[:kept[0]["number"]]:
        said = [v for n, v in f.get("classes", [[f["pages"], 255]]) for _ in range(n)]
        for page in (p for first, n in f["runs"] for p in range(first, first + n)):
            holds[page] = said.pop(0)
    assert [v for n, v in classes[0]["classes"] for _ in range(n)] == holds
    convert(rich, tmp_path / "none.pdt", "--from-ms", "1h", status=2)
    done = convert(rich, tmp_path / "none.pdt", "--from-ms", "100s", status=1)
    assert "no frame lies between" in done.stderr
    assert not os.path.exists(tmp_path / "none.pdt.part")


def test_frames_put_together(rich, tmp_path):
    _, _, whole = frames_of(rich, tmp_path)
    convert(rich, tmp_path / "coarse.pdt", "--interval", "100")
    _, _, coarse = frames_of(tmp_path / "coarse.pdt", tmp_path)
    assert coarse[-1]["begin_ns"] + coarse[-1]["span_ns"] == \
        whole[-1]["begin_ns"] + whole[-1]["span_ns"]
    for c in coarse[:-1]:
        assert 95_000_000 <= c["span_ns"] <= 105_000_000
    for c in coarse:
        end = c["begin_ns"] + c["span_ns"]
        parts = [f for f in whole if c["begin_ns"] <= f["begin_ns"] < end]
        pages, holds = set(), {}
        for f in parts:
            said = [v for n, v in f.get("classes", [[f["pages"], 255]]) for _ in range(n)]
            here = [p for first, n in f["runs"] for p in range(first, first + n)]
            pages |= set(here)
            holds.update(zip(here, said))
        assert {p for first, n in c["runs"] for p in range(first, first + n)} == pages
        assert [v for n, v in c["classes"] for _ in range(n)] == [holds[p] for p in sorted(pages)]
        assert "quarters" not in c and "ran_ns" not in c
        assert 0 < c["throttle_percent"] < 20


def test_a_trace_that_was_cut_is_taken_as_far_as_it_goes(tmp_path):
    trace = Trace(100)
    for number in range(600):
        trace.frame(10, [(number % 100, 1)])
    path = trace.save(tmp_path / "cut.pdt", end=False)
    done = convert(path, tmp_path / "whole.pdt", status=1)
    assert "it was not finished; what comes before is in" in done.stderr
    assert len(frames_of(tmp_path / "whole.pdt", tmp_path)[2]) == 600
    path.write_bytes(path.read_bytes()[:-10])
    convert(path, tmp_path / "less.pdt", status=1)
    assert len(frames_of(tmp_path / "less.pdt", tmp_path)[2]) == 512


def samples(*frames, **more):
    return json.dumps({"page_size": 4096, "tracker": {"x": [1, {"y": None}], "z": "\u00e4\n"},
                       **more, "samples": [
        {"timestamp_ms": ms, "pids": [1, 2], "dirty_pages": [
            {"addr": a if isinstance(a, int) else a, "vma_type": kind, "vma_perms": "rw-p",
             "pathname": "", "size": size} for a, kind, size in pages],
         "delta_dirty_count": len(pages)} for ms, pages in frames]}, indent=1)


def test_samples_of_a_process(tmp_path):
    (tmp_path / "p.json").write_text(samples(
        (100.5, [("0x55d000001000", "heap", 4096), ("0x55d000002000", "heap", 4096),
                 ("0x7ffe00000000", "stack", 4096)]),
        (200.5, []),
        (300.5, [(0x55d000004000, "heap", 8192)])))
    header, _, frames = frames_of(tmp_path / "p.json", tmp_path)
    assert [(b["name"], b["pages"]) for b in header["blocks"]] == [
        ("heap@0x55d000001000", 5), ("stack@0x7ffe00000000", 1)]
    assert [(f["begin_ns"], f["span_ns"], f["runs"]) for f in frames] == [
        (0, 100_500_000, [[0, 2], [5, 1]]), (100_500_000, 100_000_000, []),
        (200_500_000, 100_000_000, [[3, 2]])]
    header, _, _ = frames_of(tmp_path / "p.json", tmp_path, "--ram", "1M")
    assert sum(b["pages"] for b in header["blocks"]) == 256


def test_a_process_all_over_its_memory_has_not_too_many_blocks(tmp_path):
    pages = [(hex(i << 24), "anonymous", 4096) for i in range(3000)]
    (tmp_path / "p.json").write_text(samples((10, pages)))
    header, _, frames = frames_of(tmp_path / "p.json", tmp_path)
    assert 1 <= len(header["blocks"]) <= 1024 and frames[0]["pages"] == 3000


def answer(seconds, syncs, rate, total=64 << 20, **more):
    return {"t_monotonic": seconds, "query_migrate": {
        "status": "active", "total-time": round(seconds * 1000), "ram": {
            "total": total, "page-size": 4096, "dirty-sync-count": syncs,
            "dirty-pages-rate": rate, "remaining": 1, "mbps": 3.5}, **more}}


def test_rates_of_a_migration(tmp_path):
    told = [{"t_monotonic": 99.9, "query_migrate": {}},
            answer(100, 1, 0), answer(100.5, 1, 0), answer(101, 2, 1000), answer(101.5, 2, 1000),
            answer(102, 3, 20000)]
    (tmp_path / "a.qmp").write_text(json.dumps(told, indent=4))
    header, _, frames = frames_of(tmp_path / "a.qmp", tmp_path, "--seed", "3")
    assert header["seed"] == 3 and "made up" in header["provenance"]
    assert [(b["name"], b["pages"]) for b in header["blocks"]] == [("ram", 16384)]
    # The rate is of the time before the sync that found it.
    assert [f["pages"] for f in frames] == [500, 10000, 10000, 10000]
    assert {f["span_ns"] for f in frames} == {500_000_000}
    again = frames_of(tmp_path / "a.qmp", tmp_path, "--seed", "3")[2]
    other = frames_of(tmp_path / "a.qmp", tmp_path, "--seed", "4")[2]
    assert again == frames and other[0]["runs"] != frames[0]["runs"]
    # The same as lines, with the monitor's own timestamps, or none.
    lines = "\n".join(json.dumps({"return": t["query_migrate"]}) for t in told[1:])
    (tmp_path / "b.log").write_text(lines)
    assert frames_of(tmp_path / "b.log", tmp_path, "--seed", "3")[2] == frames
    lines = "\n".join(json.dumps({"return": t["query_migrate"], "timestamp": {
        "seconds": int(t["t_monotonic"]),
        "microseconds": round(t["t_monotonic"] % 1 * 1e6)}}) for t in told[1:])
    (tmp_path / "b.log").write_text(lines)
    assert frames_of(tmp_path / "b.log", tmp_path, "--seed", "3")[2] == frames


def portable_pages(data):
    """CRoaring's portable format, from its specification."""
    cookie, = struct.unpack_from("<I", data)
    if cookie & 0xffff == 12347:
        count, at = (cookie >> 16) + 1, 4
        runs = data[at:at + (count + 7) // 8]
        at += (count + 7) // 8
    else:
        assert cookie == 12346
        count, at, runs = struct.unpack_from("<I", data, 4)[0], 8, b""
    keys = [struct.unpack_from("<HH", data, at + 4 * i) for i in range(count)]
    at += 4 * count
    if not runs or count >= 4:
        at += 4 * count  # offsets
    pages = set()
    for i, (key, less) in enumerate(keys):
        if runs and runs[i // 8] >> i % 8 & 1:
            n, = struct.unpack_from("<H", data, at)
            for j in range(n):
                first, more = struct.unpack_from("<HH", data, at + 2 + 4 * j)
                pages |= {key << 16 | v for v in range(first, first + more + 1)}
            at += 2 + 4 * n
        elif less < 4096:
            pages |= {key << 16 | v for v in struct.unpack_from(f"<{less + 1}H", data, at)}
            at += 2 * (less + 1)
        else:
            bits = int.from_bytes(data[at:at + 8192], "little")
            pages |= {key << 16 | v for v in range(65536) if bits >> v & 1}
            at += 8192
    assert at == len(data)
    return pages


def test_roaring_bitmaps(tmp_path):
    trace, draw = Trace(300000), random.Random(2)
    sets = [[], [(5, 1)], [(100, 70000), (299999, 1)],
            [(p, 1) for p in sorted(draw.sample(range(0, 65536, 2), 9000))]]
    for runs in sets:
        trace.frame(10, runs)
    path = trace.save(tmp_path / "t.pdt")
    done = ferry("convert", str(path), str(tmp_path / "t.roaring"))
    if "built without libroaring" in done.stderr:
        assert done.returncode == 2
        pytest.skip("built without libroaring")
    assert done.returncode == 0, done.stderr
    data = (tmp_path / "t.roaring").read_bytes()
    magic, page_bytes, pages = struct.unpack_from("<8sIQ", data)
    assert (magic, page_bytes, pages) == (b"PDTROAR\1", 4096, 300000)
    at = 20
    for number, runs in enumerate(sets):
        begin, span, size = struct.unpack_from("<QQI", data, at)
        assert (begin, span) == (number * 10 ** 7, 10 ** 7)
        at += 20
        assert portable_pages(data[at:at + size]) == {
            p for first, n in runs for p in range(first, first + n)}
        at += size
    assert at == len(data)


@pytest.mark.parametrize("name, text, why", [
    ("t.csv", "", "no line of a trace"),
    ("t.csv", "10,a,0\n", "line 1: not t_ms,block,first_page,n"),
    ("t.csv", "#x\n\n10,a,0,1\n5,a,0,1\n", "line 4: the time went back"),
    ("t.csv", "10,a,0,1\nsoon,a,0,1\n", "line 2: t_ms is no time"),
    ("t.csv", "nan,a,0,1\n", "line 1: t_ms is no time"),
    ("t.csv", "10,,0,1\n", "line 1: block is no name"),
    ("t.csv", "10,a,-1,1\n", "line 1: first_page and n are no pages"),
    ("t.csv", "10,a,268435455,2\n", "line 1: first_page and n are no pages"),
    ("t.csv", "10,a,0,99999999999999999999\n", "line 1: first_page and n are no pages"),
    ("t.csv", "10,a,0,1\n10," + "a" * 2000 + "\n", "line 2: it is too long"),
    ("t.csv", "10,a,0,1\n1\0", "line 2: it has a zero byte"),
    ("t.csv", "#block,a,1e9\n", "line 1: a block's pages are no number"),
    ("t.csv", "#page_bytes,1000\n", "line 1: page_bytes is no power of two"),
    ("t.csv", "".join(f"1,b{i},0,1\n" for i in range(1100)), "line 1025: there are more than 1024"),
    ("t.json", "", "no samples"),
    ("t.json", "{}", "no samples"),
    ("t.json", "[1, 2", "the text ends in the middle"),
    ("t.json", '{"samples": [{"timestamp_ms": 1}]}', "no samples with dirty_pages"),
    ("t.json", '{"samples": [{"dirty_pages": []}]}', "a sample has no timestamp_ms"),
    ("t.json", '{"samples": [{"timestamp_ms": -1}]}', "timestamp_ms is no time"),
    ("t.json", '{"samples": [{"timestamp_ms": 1,\n"dirty_pages": [{"size": 1}]}]}',
     "line 2: a page has no addr"),
    ("t.json", '{"samples": [{"timestamp_ms": 1,\n"dirty_pages": [{"addr": "x"}]}]}',
     "line 2: addr is no address"),
    ("t.json", '{"samples": [{"timestamp_ms": 1,\n"dirty_pages": [{"addr": 1, "size": 1e99}]}]}',
     "line 2: size is no number of bytes"),
    ("t.json", '{"samples": [{"timestamp_ms": 1, "dirty_pages": '
               '[{"addr": "0xffffffffffffffff", "size": 4096}]}]}', "beyond all memory"),
    ("t.json", '{"samples": [{"timestamp_ms": 2, "dirty_pages": []}, {"timestamp_ms": 1}]}',
     "the time went back"),
    ("t.json", '{"page_size": 1000}', "page_size is no power of two"),
    ("t.json", "[" * 100, "nested more than 32 deep"),
    ("t.json", '{"a": tru}', "no JSON value"),
    ("t.json", '{"a": 1,}', "a member has no name"),
    ("t.json", '{"a" 1}', "a member has no value"),
    ("t.json", '{"a": "\\x"}', "a wrong escape"),
    ("t.json", '{"a": "\n"}', "a string does not end"),
    ("t.json", '{"a": 1 "b": 2}', "a comma or the end is missing"),
    ("t.json", '{"a": ' + "1" * 1000 + "}", "a number is too long"),
    ("t.qmp", json.dumps([answer(1, 1, 1)]), "two answers"),
    ("t.qmp", json.dumps([answer(2, 1, 1), answer(1, 1, 1)]), "the time went back"),
    ("t.qmp", json.dumps([answer(1, 1, -5), answer(2, 1, 1)]), "dirty-pages-rate is no such number"),
    ("t.qmp", json.dumps([answer(1, 1, 1, total=0), answer(2, 1, 1, total=0)]), "ram.total"),
    ("t.qmp", json.dumps([answer(1, 1, 1), answer(2, 1, 1, total=1 << 50)]), "ram.total"),
    ("t.qmp", '{"ram": {"total": 1}}', "neither when it was given nor total-time"),
])
def test_what_is_no_trace_is_refused_with_its_line(name, text, why, tmp_path):
    (tmp_path / name).write_text(text)
    done = convert(tmp_path / name, tmp_path / "out.pdt", status=1)
    assert f"{name}: " in done.stderr and why in done.stderr, done.stderr
    assert not os.path.exists(tmp_path / "out.pdt") and not os.path.exists(tmp_path / "out.pdt.part")


def test_too_little_memory_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("10,a,0,1000\n")
    assert "more memory than" in convert(tmp_path / "t.csv", tmp_path / "o.pdt", "--ram", "1M",
                                         status=1).stderr


@pytest.mark.parametrize("words, why", [
    (["in.pdt"], "too few arguments"),
    (["in", "out.pdt"], "in: the name does not say the format: --from is needed"),
    (["in.csv", "out"], "out: the name does not say the format: --to is needed"),
    (["in.csv", "out", "--to", "xml"], "--to: there is no format 'xml'"),
    (["in.jsonl", "out.pdt"], "json is written, not read"),
    (["in.csv", "out.json"], "criu is read, not written"),
    (["-", "out.csv", "--from", "pdt"], "a .pdt is read from a file"),
    (["in.csv", "out.pdt", "--interval", "soon"], "soon"),
    (["in.csv", "out.pdt", "--seed", "-1"], "--seed is 0 or more"),
    (["in.csv", "out.pdt", "--from-ms", "2", "--until-ms", "1"], "--until-ms is not behind"),
])
def test_wrong_words_are_refused(words, why):
    done = ferry("convert", *words)
    assert done.returncode == 2 and why in done.stderr, done.stderr


def test_files_that_are_not_there(tmp_path):
    for name in ["none.csv", "none.pdt"]:
        done = convert(tmp_path / name, tmp_path / "out.pdt", status=1)
        assert name in done.stderr and "No such file" in done.stderr
    (tmp_path / "t.csv").write_text("10,a,0,1\n")
    convert(tmp_path / "t.csv", tmp_path / "no" / "out.pdt", status=1)
