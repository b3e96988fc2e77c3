"""ferry send: to a destination that is played by hand, as a stock QEMU speaks."""
import json
import os
import subprocess
import time

import pytest

from ferry_program import FERRY, ferry
from monitor import Monitor
from peers import PATIENCE, Destination, Receive, expected, feed, stream

UUID = "12345678-9abc-def0-1234-56789abcdef0"
V7 = {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": "Debian"}
V10 = {"qemu": {"major": 10, "minor": 0, "micro": 13}, "package": ""}


def snapshot_of(name, directory):
    path = str(directory / name)
    with Receive("--output", path) as r:
        feed(r.uri, stream(name + ".mig"))
        assert r.end()[0] == 0
    return path


@pytest.fixture(scope="module")
def v7(tmp_path_factory):
    return snapshot_of("qemu-7.2-pc-plain", tmp_path_factory.mktemp("v7"))


@pytest.fixture(scope="module")
def v10(tmp_path_factory):
    return snapshot_of("qemu-10.0-pc-plain", tmp_path_factory.mktemp("v10"))


@pytest.fixture(scope="module")
def qemus_own(tmp_path_factory):
    path = tmp_path_factory.mktemp("mapped") / "snapshot"
    path.write_bytes(stream("qemu-10.0-pc-mappedram.file"))
    return str(path)


def send(snapshot, uri, *options):
    done = ferry("send", "--input", snapshot, uri, "--json", *options)
    return done.returncode, json.loads(done.stdout.splitlines()[-1]) if done.stdout else done.stderr


def devices(seen):
    return [(s["idstr"], s["instance_id"], s["version_id"], s["body_bytes"])
            for s in seen["sections"] if s["type"] == "FULL"]


def ram(seen):
    return {b["name"]: b["sha256"] for b in seen["blocks"]}


def commands(seen):
    return [c["name"] for c in seen["commands"]]


@pytest.mark.parametrize("name", ["qemu-7.2-pc-plain", "qemu-10.0-pc-plain"])
def test_what_a_qemu_sent_leaves_as_it_came(name, v7, v10, tmp_path):
    wanted = expected(name)
    d = Destination(tmp_path / "socket")
    status, said = send(v7 if "7.2" in name else v10, d.uri)
    assert status == 0 and said["confirmed"] is True and said["to_ferry"] is False, said
    seen = d.seen(tmp_path)
    assert ram(seen) == {b["name"]: b["sha256"] for b in wanted["blocks"]}
    (tmp_path / "original").write_bytes(stream(name + ".mig"))
    original = json.loads(ferry("inspect", str(tmp_path / "original"), "--json").stdout)
    assert devices(seen) == devices(original)
    assert seen["description"] == original["description"]
    assert seen["configuration"] == original["configuration"]
    assert seen["run_state"] == "running"


def test_a_snapshot_of_qemus_own_is_input(qemus_own, tmp_path):
    d = Destination(tmp_path / "socket")
    assert send(qemus_own, d.uri)[0] == 0
    seen = d.seen(tmp_path)
    assert ram(seen)["pc.ram"] == expected("qemu-10.0-pc-mappedram")["blocks"][0]["sha256"]
    assert seen["configuration"].get("capabilities", []) == [], "mapped-ram is of files"


def test_switchover_start_is_for_those_who_know_it(v7, v10, tmp_path):
    for i, (snapshot, options, wanted) in enumerate([
            (v7, [], False), (v7, ["--peer", "10.0.13"], False), (v10, [], True),
            (v10, ["--peer", "11.1"], True)]):
        d = Destination(tmp_path / f"socket{i}")
        assert send(snapshot, d.uri, *options)[0] == 0
        assert ("switchover-start" in commands(d.seen(tmp_path))) == wanted, (snapshot, options)


@pytest.mark.parametrize("start, wanted", [("keep", "running"), ("running", "running"),
                                           ("paused", "paused")])
def test_the_destination_is_told_whether_to_run_it(start, wanted, v7, tmp_path):
    d = Destination(tmp_path / "socket")
    status, said = send(v7, d.uri, "--start", start)
    assert (status, said["run_state"]) == (0, wanted)
    assert d.seen(tmp_path)["run_state"] == wanted


def test_it_goes_under_another_name_and_uuid(v7, tmp_path):
    d = Destination(tmp_path / "socket")
    assert send(v7, d.uri, "--machine", "pc-q35-8.2", "--uuid", UUID)[0] == 0
    configuration = d.seen(tmp_path)["configuration"]
    assert (configuration["machine"], configuration["uuid"]) == ("pc-q35-8.2", UUID)


def test_without_a_return_path_nothing_is_confirmed(v7, tmp_path):
    d = Destination(tmp_path / "socket", answers=False)
    status, said = send(v7, d.uri, "--no-return-path")
    assert (status, said["confirmed"]) == (0, False)
    seen = d.seen(tmp_path)
    assert commands(seen) == [] and ram(seen) == {
        b["name"]: b["sha256"] for b in expected("qemu-7.2-pc-plain")["blocks"]}
    done = ferry("send", "--input", v7, f"file:{tmp_path}/plain")
    assert done.returncode == 0 and "confirmed nothing" in done.stdout
    assert ferry("receive", f"file:{tmp_path}/plain").returncode == 0


@pytest.mark.parametrize("compress", ["zlib", "zstd"])
def test_compressed_pages_for_those_who_know_them(compress, v7, tmp_path):
    status, said = send(v7, "unix:/nowhere", "--compress", compress)
    assert status == 5 and "--peer says which" in said["error"]
    status, said = send(v7, "unix:/nowhere", "--compress", compress, "--peer", "9.1")
    assert status == 5 and "up to 9.0" in said["error"]
    d = Destination(tmp_path / "socket")
    assert send(v7, d.uri, "--compress", compress, "--peer", "7.2")[0] == 0
    seen = d.seen(tmp_path)
    assert seen["records"]["COMPRESS_PAGE"] > 100
    assert ram(seen) == {b["name"]: b["sha256"] for b in expected("qemu-7.2-pc-plain")["blocks"]}


# How it ends


def test_a_refusal_behind_the_end_is_in_doubt(v7, tmp_path):
    d = Destination(tmp_path / "socket", ends="bad")
    status, said = send(v7, d.uri)
    assert (status, said["status"]) == (6, "in-doubt"), "some QEMUs run it, and then say so"
    assert "refused the migration" in said["error"]


@pytest.mark.parametrize("after", [10, 100, 30000, 2 << 20])
def test_a_destination_that_goes_before_the_end_has_nothing(after, v7, tmp_path):
    d = Destination(tmp_path / "socket", ends="early", after=after)
    status, said = send(v7, d.uri)
    assert (status, said["status"]) == (1, "failed"), said
    d.thread.join(PATIENCE)


def test_a_cut_behind_the_end_is_in_doubt(v7, tmp_path):
    d = Destination(tmp_path / "socket", ends="cut")
    status, said = send(v7, d.uri)
    assert (status, said["status"]) == (6, "in-doubt") and "in doubt" in said["error"], said


def test_silence_behind_the_end_is_in_doubt(v7, tmp_path):
    d = Destination(tmp_path / "socket", ends="hang")
    status, said = send(v7, d.uri, "--timeout", "300ms")
    assert status == 6 and "did not say" in said["error"], said


def test_silence_from_the_beginning_is_a_failure(v7, tmp_path):
    d = Destination(tmp_path / "socket", answers=False)
    status, said = send(v7, d.uri, "--timeout", "300ms")
    assert status == 1 and "did not say hello" in said["error"], said


def test_nobody_there(v7):
    status, said = send(v7, "unix:/nowhere/at/all")
    assert status == 5 and "no such socket" in said["error"], said


def test_ctrl_c(v7, tmp_path):
    d = Destination(tmp_path / "socket")
    with subprocess.Popen([FERRY, "send", "--input", v7, d.uri, "--max-bandwidth", "100K"],
                          stderr=subprocess.PIPE, text=True) as process:
        while len(d.stream) < 1000:
            time.sleep(0.01)
        process.send_signal(2)
        assert process.wait(PATIENCE) == 3
        assert "cancelled" in process.stderr.read()


# What it is refused for


@pytest.mark.parametrize("what, says", [
    ("missing", "No such file"), ("directory", "not a regular file"),
    ("fifo", "not a regular file"), ("empty", ""), ("text", ""), ("stream", "not a snapshot")])
def test_what_is_no_snapshot_is_refused(what, says, tmp_path):
    path = tmp_path / "it"
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what != "missing":
        path.write_bytes({"empty": b"", "text": b"some text\n" * 1000,
                          "stream": stream("qemu-7.2-pc-plain.mig")}[what])
    status, said = send(str(path), "unix:/nowhere")
    assert status == 5 and said["status"] == "refused" and says in said["error"], said
    assert str(path) in said["error"]


def test_a_machine_type_that_says_too_little_needs_help(v7):
    status, said = send(v7, "unix:/nowhere", "--machine", "microvm")
    assert status == 5 and "--peer or --peer-qmp is needed" in said["error"]
    status, said = send(v7, "unix:/nowhere", "--machine", "pc-q35-rhel9.2.0", "--peer", "10.0")
    assert status == 5 and "must be asked of the destination" in said["error"]
    status, said = send(v7, "unix:/nowhere", "--peer", "6.2")
    assert status == 5 and "cannot run machine type" in said["error"]


@pytest.mark.parametrize("options, says", [
    ([], "--input is missing"),
    (["--input", "x", "--start", "now"], "none of keep, running, paused"),
    (["--input", "x", "--uuid", "1"], "not a UUID"),
    (["--input", "x", "--channels", "256"], "--channels"),
    (["--input", "x", "--multifd-compression", "zlib"], "needs --channels"),
    (["--input", "x", "--channels", "2", "--multifd-compression", "qatzip"], "qatzip"),
    (["--input", "x", "--channels", "2", "--compress", "zlib"], "--compress"),
    (["--input", "x", "--channels", "2", "--multifd-compression", "zlib", "--multifd-level", "10"],
     "0 to 9 with zlib"),
    (["--input", "x", "--channels", "2", "--multifd-compression", "zstd", "--multifd-level", "21"],
     "0 to 20 with zstd"),
    (["--input", "x", "--peer", "7.2", "--peer-qmp", "unix:q"], "--peer"),
    (["--input", "x", "--zero-page-detection", "all"], "none of multifd, legacy, none"),
])
def test_usage(options, says):
    done = ferry("send", "tcp:127.0.0.1:1", *options)
    assert done.returncode == 2 and says in done.stderr, done.stderr


def test_channels_need_an_address_that_can_be_connected_to_again():
    done = ferry("send", "exec:cat", "--input", "x", "--channels", "2")
    assert done.returncode == 2 and "tcp: or unix:" in done.stderr


# The destination's own word


def monitor(version=V7, machine="pc-i440fx-7.2", status="inmigrate", multifd=None, **more):
    answers = {
        "query-status": {"status": status}, "query-version": version,
        "qom-get": machine + "-machine", "query-uuid": {"UUID": "00000000-0000-0000-0000-000000000000"},
        "query-machines": ValueError("Parameter 'compat-props' is unexpected"),
        "query-migrate-capabilities": [{"capability": "multifd", "state": multifd is not None}],
        "query-migrate-parameters": {"multifd-channels": multifd[0] if multifd else 2,
                                     "multifd-compression": multifd[1] if multifd else "none"},
        **{k.replace("_", "-"): v for k, v in more.items()}}
    return Monitor(**answers)


def asked(m):
    return [name for name, _ in m.commands]


def test_the_guest_runs_once_everything_is_loaded(v7, tmp_path):
    states = [{"status": s} for s in ("inmigrate", "inmigrate", "paused", "running")]
    d = Destination(tmp_path / "socket")
    with monitor(query_status=states) as m:
        status, said = send(v7, d.uri, "--peer-qmp", m.address)
    assert status == 0 and said["confirmed"] is True, said
    assert asked(m)[-3:] == ["query-status", "cont", "query-status"]


def test_a_guest_that_runs_confirms_by_itself(v7, tmp_path):
    states = [{"status": s} for s in ("inmigrate", "inmigrate", "running")]
    d = Destination(tmp_path / "socket", answers=False)
    with monitor(query_status=states) as m:
        status, said = send(v7, d.uri, "--peer-qmp", m.address, "--no-return-path")
    assert status == 0 and said["confirmed"] is True, said
    assert "cont" not in asked(m), "it was not started with -S"


def test_a_paused_guest_is_left_alone(v7, tmp_path):
    d = Destination(tmp_path / "socket")
    with monitor() as m:
        assert send(v7, d.uri, "--peer-qmp", m.address, "--start", "paused")[0] == 0
    assert "cont" not in asked(m)


def test_a_guest_that_is_not_let_run_is_in_doubt(v7, tmp_path):
    states = [{"status": s} for s in ("inmigrate", "paused")]
    d = Destination(tmp_path / "socket")
    with monitor(query_status=states, cont=ValueError("not today")) as m:
        status, said = send(v7, d.uri, "--peer-qmp", m.address)
    assert status == 6 and "not today" in said["error"], said


COMPAT = {"name": "pc-i440fx-10.0", "compat-props": []}
OLD = {"name": "pc-q35-rhel9.2.0", "compat-props": [
    {"qom-type": "migration", "property": "send-switchover-start", "value": "off"},
    {"qom-type": "virtio-net", "property": "send-switchover-start", "value": "on"},
    {"qom-type": "migration", "property": "multifd-flush-after-each-section", "value": "on"}]}
PROPERTIES = [{"name": "multifd-flush-after-each-section", "type": "bool", "default-value": False},
              {"name": "send-switchover-start", "type": "bool", "default-value": True}]


@pytest.mark.parametrize("machine, machines, wanted", [
    ("pc-i440fx-10.0", [COMPAT, OLD], True),
    ("pc-q35-rhel9.2.0", [COMPAT, OLD], False),
    ("pc-i440fx-9.2", [COMPAT, OLD], False),  # not listed: its name says it
])
def test_what_the_machine_type_does_is_asked(machine, machines, wanted, v10, tmp_path):
    d = Destination(tmp_path / "socket")
    with monitor(V10, machine, query_machines=machines, qom_list_properties=PROPERTIES) as m:
        status, said = send(v10, d.uri, "--peer-qmp", m.address, "--machine", machine, "--start",
                            "paused")
    assert status == 0, said
    assert ("query-machines", {"compat-props": True}) in m.commands
    assert ("switchover-start" in commands(d.seen(tmp_path))) == wanted


@pytest.mark.parametrize("peer, options, says", [
    ({"status": "running"}, [], "its guest is 'running'"),
    ({"machine": "pc-q35-7.2"}, [], "runs machine type 'pc-q35-7.2'"),
    ({"multifd": (4, "zstd")}, ["--channels", "2"], "waits for 4 multifd channels, not for 2"),
    ({"multifd": (2, "zstd")}, ["--channels", "2", "--multifd-compression", "zlib"],
     "multifd-compression is zstd, not zlib"),
    ({"multifd": (2, "qpl")}, [], "qpl"),
    ({}, ["--channels", "2"], "multifd off"),
    ({"query_version": ValueError("no idea")}, [], "no idea"),
    ({"query_version": {}}, [], "no version"),
    ({"qom_get": 5}, [], "/machine has no type"),
    ({"version": {"qemu": {"major": 7, "minor": 1, "micro": 0}}}, [], "cannot run machine type"),
])
def test_what_does_not_fit_is_refused_before_it_begins(peer, options, says, v7):
    with monitor(**peer) as m:
        status, said = send(v7, "unix:/nowhere", "--peer-qmp", m.address, *options)
    assert status == 5 and said["status"] == "refused" and says in said["error"], said
