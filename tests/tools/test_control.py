"""status, set, cancel, continue, resolve against a monitor."""
import json
import os
import shutil
import subprocess
import time

import pytest

from ferry_program import ferry
from monitor import Monitor

ACTIVE = {"status": "active", "total-time": 1234, "expected-downtime": 42, "setup-time": 3,
          "ram": {"transferred": 10485760, "remaining": 2097152, "total": 134217728,
                  "duplicate": 7, "normal": 2560, "normal-bytes": 10485760, "mbps": 268.435456,
                  "dirty-sync-count": 2, "page-size": 4096, "dirty-pages-rate": 512}}
ROUND = {"number": 1, "normal_pages": 2560, "zero_pages": 7, "sent_bytes": 10485760,
         "duration_ms": 1000.5, "dirtied_pages": 512, "bytes_per_second": 10485760,
         "dirty_pages_per_second": 512, "predicted_downtime_ms": 12.5}
PARTS = {"pause_ms": 1, "last_round_ms": 2, "device_state_ms": 3, "verify_ms": 4, "load_ms": 5,
         "start_ms": 6, "total_ms": 21}
COMPLETED = {**ACTIVE, "status": "completed", "downtime": 21,
             "x-ferry": {"rounds": [ROUND], "downtime": PARTS, "predicted": PARTS}}


def fields(text):
    return {line.split(":")[0]: line.split(":", 1)[1].split() for line in text.splitlines()
            if ":" in line}


def test_status_has_the_words_and_units_of_info_migrate():
    with Monitor(query_migrate=ACTIVE) as m:
        done = ferry("status", "--qmp", m.address)
    said = fields(done.stdout)
    assert done.returncode == 0
    assert said["Migration status"] == ["active"]
    assert said["total time"] == ["1234", "ms"]
    assert said["expected downtime"] == ["42", "ms"]
    assert said["transferred ram"] == ["10240", "kbytes"]
    assert said["remaining ram"] == ["2048", "kbytes"]
    assert said["throughput"] == ["268.44", "mbps"]
    assert said["duplicate"] == ["7", "pages"]
    assert said["dirty sync count"] == ["2"]
    assert said["page size"] == ["4", "kbytes"]


def test_status_of_a_monitor_without_a_migration_is_none():
    with Monitor() as m:
        done = ferry("status", "--qmp", m.address)
    assert done.returncode == 0 and fields(done.stdout) == {"Migration status": ["none"]}


def test_status_as_json_is_the_answer_on_one_line():
    with Monitor(query_migrate=ACTIVE) as m:
        done = ferry("status", "--json", "--qmp", m.address)
    assert done.stdout.count("\n") == 1 and json.loads(done.stdout) == ACTIVE


def test_status_shows_rounds_and_parts_of_the_downtime():
    with Monitor(query_migrate=COMPLETED) as m:
        done = ferry("status", "--qmp", m.address)
    assert ["1", "2560", "7", "10.0", "1000.5", "10.0", "512", "512", "12.5", "ms"] in [
        line.split() for line in done.stdout.splitlines()]
    assert ["verify", "all", "RAM", "4.0", "ms", "4.0", "ms"] in [
        line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("status, code", [("completed", 0), ("failed", 1), ("cancelled", 3),
                                          ("x-ferry-in-doubt", 6)])
def test_watch_follows_to_the_end_and_says_which(status, code):
    with Monitor(query_migrate=[{}, ACTIVE, ACTIVE, {**ACTIVE, "status": status}]) as m:
        done = ferry("status", "--watch", "--interval", "0.01", "--json", "--qmp", m.address)
    assert done.returncode == code
    assert [json.loads(line).get("status") for line in done.stdout.splitlines()] == [
        None, "active", "active", status]


def test_progress_is_not_drawn_where_there_is_no_terminal():
    with Monitor(query_migrate=[ACTIVE, COMPLETED]) as m:
        done = ferry("status", "--watch", "--interval", "0.01", "--qmp", m.address)
    assert done.stderr == ""


def test_progress_is_one_moving_line_on_a_terminal():
    ours, theirs = os.openpty()
    with Monitor(query_migrate=[ACTIVE, ACTIVE, COMPLETED]) as m:
        process = subprocess.Popen([os.path.join(os.environ["FERRY_BUILD"], "tools/ferry"),
                                    "status", "--watch", "--interval", "0.01", "--qmp", m.address],
                                   stdout=subprocess.DEVNULL, stderr=theirs)
        assert process.wait(timeout=60) == 0
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert said.count("\n") == 1 and said.count("\r") >= 3
    for word in ["98 %", "10 MiB sent", "32 MiB/s", "dirty 2 MiB/s", "round 2", "downtime 42 ms"]:
        assert word in said


@pytest.mark.parametrize("name, value, sent", [
    ("max-bandwidth", "500MiB/s", 524288000),
    ("max-bandwidth", "1Gbit/s", 125000000),
    ("max-bandwidth", "0", 0),
    ("downtime-limit", "0.5s", 500),
    ("downtime-limit", "500ms", 500),
    ("downtime-limit", "500", 500),
    ("max-cpu-throttle", "80", 80),
    ("xbzrle-cache-size", "128M", 134217728),
    ("tls-creds", "tls0", "tls0"),
    ("x-flag", "on", True),
    ("x-unheard-of", "7", 7),
])
def test_set_sends_values_of_the_type_and_unit_that_the_parameter_has(name, value, sent):
    with Monitor() as m:
        done = ferry("set", "--qmp", m.address, name, value)
    assert done.returncode == 0, done.stderr
    assert m.commands[-1] == ("migrate-set-parameters", {name: sent})
    assert type(m.commands[-1][1][name]) is type(sent)


@pytest.mark.parametrize("word, on", [("on", True), ("true", True), ("off", False)])
def test_set_sets_capabilities_too(word, on):
    with Monitor() as m:
        done = ferry("set", "--qmp", m.address, "auto-converge", word)
    assert done.returncode == 0
    assert m.commands[-1] == ("migrate-set-capabilities", {
        "capabilities": [{"capability": "auto-converge", "state": on}]})


@pytest.mark.parametrize("name, value", [("max-bandwidth", "fast"), ("downtime-limit", "1h"),
                                         ("auto-converge", "maybe"), ("x-flag", "7")])
def test_set_refuses_a_value_that_makes_no_sense_before_it_sends_it(name, value):
    with Monitor() as m:
        done = ferry("set", "--qmp", m.address, name, value)
    assert done.returncode == 2 and value in done.stderr
    assert [c for c, _ in m.commands if c.startswith("migrate-")] == []


def test_set_passes_a_refusal_on():
    with Monitor(migrate_set_parameters=ValueError("out of range, 1 to 99")) as m:
        done = ferry("set", "--qmp", m.address, "max-cpu-throttle", "100", "--json")
    assert done.returncode == 1 and "out of range, 1 to 99" in done.stderr
    said = json.loads(done.stdout)
    assert said["status"] == "failed" and "out of range" in said["error"]


def test_set_without_a_name_prints_all_with_units():
    with Monitor() as m:
        done = ferry("set", "--qmp", m.address)
    lines = [line.split(None, 1) for line in done.stdout.splitlines()]
    assert ["max-bandwidth", "134217728 bytes/s, 128.0 MiB/s (1074 Mbit/s)"] in lines
    assert ["auto-converge", "off"] in lines and ["events", "on"] in lines


@pytest.mark.parametrize("words, command", [
    (["cancel"], ("migrate_cancel", None)),
    (["continue"], ("migrate-continue", {"state": "pre-switchover"})),
    (["resolve", "--owner", "here"], ("x-ferry-resolve", {"owner": "here"})),
    (["resolve", "--owner", "there"], ("x-ferry-resolve", {"owner": "there"})),
], ids=lambda w: " ".join(w) if isinstance(w, list) else "")
def test_commands_are_sent_and_obeyed(words, command):
    with Monitor() as m:
        done = ferry(*words, "--json", "--qmp", m.address)
    assert done.returncode == 0 and json.loads(done.stdout) == {"status": "completed"}
    assert m.commands == [command]


def test_a_refused_command_is_exit_1_with_the_reason():
    with Monitor(migrate_cancel=ValueError("too late")) as m:
        done = ferry("cancel", "--qmp", m.address)
    assert done.returncode == 1
    assert done.stderr == "ferry cancel: migrate_cancel: too late\n"


def test_nobody_there_is_exit_1():
    done = ferry("status", "--qmp", "unix:/nowhere/qmp")
    assert done.returncode == 1 and "/nowhere/qmp" in done.stderr


def test_a_silent_monitor_ends_at_the_timeout():
    with Monitor() as m:
        m.silent = True
        done = ferry("status", "--timeout", "0.2", "--qmp", m.address)
    assert done.returncode == 1 and "deadline" in done.stderr


@pytest.mark.parametrize("greeting", [b"hello\r\n{}\r\n", b'{"a": 1}', b"{]}", b"[" * 100 + b"{}"])
def test_a_peer_that_is_no_monitor_is_refused(greeting):
    with Monitor() as m:
        m.greeting = greeting
        done = ferry("status", "--timeout", "5", "--qmp", m.address)
    assert done.returncode == 1 and done.stderr.startswith("ferry status: ")


def test_a_monitor_that_hangs_up_is_an_error():
    with Monitor() as m:
        m.answer = lambda request: 1 / 0 if request["execute"] == "query-migrate" else b""
        done = ferry("status", "--timeout", "1", "--qmp", m.address)
    assert done.returncode == 1 and done.stderr.startswith("ferry status: ")


def test_a_real_qemu_is_understood(tmp_path):
    qemu = shutil.which("qemu-system-x86_64")
    if not qemu:
        pytest.skip("no qemu-system-x86_64")
    path = tmp_path / "qmp"
    process = subprocess.Popen([qemu, "-M", "none", "-S", "-display", "none", "-nodefaults",
                                "-qmp", f"unix:{path},server=on,wait=off"])
    try:
        deadline = time.monotonic() + 30
        while not path.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        address = f"unix:{path}"
        assert ferry("set", "--qmp", address, "max-bandwidth", "200M").returncode == 0
        assert ferry("set", "--qmp", address, "auto-converge", "on").returncode == 0
        refused = ferry("set", "--qmp", address, "max-cpu-throttle", "100")
        assert refused.returncode == 1 and "cpu" in refused.stderr.lower()
        said = json.loads(ferry("set", "--json", "--qmp", address).stdout)
        assert said["parameters"]["max-bandwidth"] == 200 << 20
        assert {"capability": "auto-converge", "state": True} in said["capabilities"]
        assert fields(ferry("status", "--qmp", address).stdout)["Migration status"] == ["none"]
        assert ferry("cancel", "--qmp", address).returncode == 0
    finally:
        process.kill()
        process.wait()
