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
