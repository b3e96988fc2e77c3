"""ferry check."""
import json
import os

from ferry_program import ferry

KEYS = {"host", "kvm", "manual_dirty_log_protect", "dirty_ring", "userfaultfd", "pagemap_scan",
        "io_uring", "huge_pages", "transparent_huge_pages", "ksm", "tcp_congestion_control",
        "tcp_buffers", "memlock"}


def test_json_says_of_everything_whether_it_is_there():
    done = ferry("check", "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 0 and said["status"] == "completed"
    assert set(said["checks"]) == KEYS
    for name, check in said["checks"].items():
        assert isinstance(check["available"], bool) and check["value"], name
        assert ("otherwise" in check) == (not check["available"]), name


def test_kvm_is_what_the_device_says():
    said = json.loads(ferry("check", "--json").stdout)["checks"]
    assert said["kvm"]["available"] == os.access("/dev/kvm", os.R_OK | os.W_OK)


def test_text_has_one_line_each_and_says_what_follows():
    said = json.loads(ferry("check", "--json").stdout)["checks"]
    lines = ferry("check").stdout.splitlines()
    assert len(lines) == len(KEYS)
    for line, check in zip(lines, said.values()):
        assert f" {'yes' if check['available'] else 'no'} " in line
        assert check["available"] or check["otherwise"] in line


def test_what_things_take_is_measured_and_written(tmp_path):
    path = str(tmp_path / "costs.json")
    done = ferry("check", "--calibrate", "-o", path, "--json")
    assert done.returncode == 0, done.stderr
    with open(path, encoding="utf-8") as f:
        assert f.read() == done.stdout
    said = json.loads(done.stdout)
    assert said["type"] == "costs" and said["host"]
    assert said["page_ns"] > 0 and said["zstd_page_ns"] > 0 and said["zlib_page_ns"] > 0
    packed = {(p["how"], p["level"], p["content"]): p for p in said["packed"]}
    assert packed["zstd", 1, "random"]["wire_permille"] >= 990
    assert packed["zstd", 1, "text"]["wire_permille"] < 500
    assert packed["zlib", 6, "text"]["wire_permille"] <= packed["zlib", 1, "text"]["wire_permille"]
    assert ("clears" in said) == ("not_measured" not in said)
    if "clears" in said:
        assert said["clear_ns"] == [c["clear_ns"] for c in said["clears"]
                                    if c["chunk_bytes"] == 2 << 20][0] > 0
    done = ferry("simulate", "--workload", "idle", "--ram", "64M", "--costs", path, "--json")
    assert done.returncode == 0, done.stderr


def test_calibration_is_asked_for_by_name():
    done = ferry("check", "-o", "x")
    assert done.returncode == 2 and "-o is for --calibrate" in done.stderr
