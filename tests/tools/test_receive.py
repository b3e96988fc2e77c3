"""ferry receive."""
import json
import os
import socket
import time

import pytest

from ferry_program import ferry
from peers import Receive, connect, expected, feed, stream

PLAIN = ["qemu-7.2-pc-plain", "qemu-7.2-pc-xbzrle", "qemu-7.2-pc-compress", "qemu-10.0-pc-plain"]
MULTIFD = [f"qemu-{v}-pc-multifd-{m}" for v in ("7.2", "10.0") for m in ("none", "zlib", "zstd")]
SHUT = {True: bytes.fromhex("0001000400000000"), False: bytes.fromhex("0001000400000001")}


def blocks(said):
    return {b["name"]: b["sha256"] for b in said["blocks"]}


@pytest.mark.parametrize("name", PLAIN)
def test_a_stream_of_a_real_qemu_comes_in_whole(name):
    wanted = expected(name)
    with Receive("--hash") as r:
        feed(r.uri, stream(name + ".mig"))
        status, said = r.end()
    assert status == 0 and said["status"] == "completed", said
    assert said["machine"] == wanted["machine"] and said["run_state"] == "running"
    assert blocks(said) == {b["name"]: b["sha256"] for b in wanted["blocks"]}
    assert [b["length_bytes"] for b in said["blocks"]] == [b["length"] for b in wanted["blocks"]]


@pytest.mark.parametrize("name", MULTIFD)
def test_multifd_of_a_real_qemu_comes_in_whole(name):
    main, *channels = [stream(f"{name}.{part}") for part in ("main", "ch0", "ch1")]
    with Receive("--hash", "--channels", "2", "--multifd-compression",
                 name.rsplit("-", 1)[1]) as r:
        feed(r.uri, main, *channels)
        status, said = r.end()
    assert status == 0, said
    assert blocks(said) == {b["name"]: b["sha256"] for b in expected(name)["blocks"]}


def test_ram_in_files_that_held_something_else(tmp_path):
    wanted = expected(PLAIN[1])["blocks"]
    for block in wanted:
        name = block["name"].lstrip("/").replace("/", "%2F")
        (tmp_path / name).write_bytes(os.urandom(block["length"]))
    with Receive("--hash", "--ram-dir", str(tmp_path)) as r:
        feed(r.uri, stream(PLAIN[1] + ".mig"))
        status, said = r.end()
    assert status == 0 and blocks(said) == {b["name"]: b["sha256"] for b in wanted}
    assert (tmp_path / "pc.ram").stat().st_size == 32 << 20


def test_a_snapshot_goes_round_and_is_the_same(tmp_path):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    with Receive("--output", first) as r:
        feed(r.uri, stream(PLAIN[0] + ".mig"))
        assert r.end()[0] == 0
    with Receive("--hash", "--output", second, uri=f"unix:{tmp_path}/socket") as r:
        done = ferry("send", "--input", first, r.uri, "--json")
        status, said = r.end()
    assert done.returncode == 0 and status == 0, (done.stderr, said)
    assert json.loads(done.stdout.splitlines()[-1])["to_ferry"] is True
    assert said["from_ferry"] is True
    with open(first, "rb") as a, open(second, "rb") as b:
        assert a.read() == b.read(), "RAM, sections and description, byte for byte"
    assert sorted(os.listdir(tmp_path)) == ["first", "second"]
    assert os.stat(first).st_blocks * 512 < 20 << 20, "zero pages take no room"


@pytest.mark.parametrize("cut", [4, 30, 5000, 2 << 20, -200000, -3])
def test_a_cut_stream_leaves_nothing(cut, tmp_path):
    with Receive("--output", str(tmp_path / "snapshot")) as r:
        said = feed(r.uri, stream(PLAIN[0] + ".mig")[:cut])
        status, last = r.end()
    assert status == 1 and last["status"] == "failed" and last["error"], last
    assert os.listdir(tmp_path) == []
    assert SHUT[True] not in said


def test_a_source_that_listens_is_told_the_end():
    main = stream(PLAIN[0] + ".mig")
    # header and configuration take 26 bytes; behind them the return path is opened, and a PING
    opened = main[:26] + bytes.fromhex("0800010000" "0800020004" "00000001") + main[26:]
    pong = bytes.fromhex("0002000400000001")
    with Receive() as r:
        assert feed(r.uri, opened) == pong + SHUT[True]
        assert r.end()[0] == 0
    with Receive("--max-ram", "32M") as r:
        assert feed(r.uri, opened) == pong + SHUT[False]
        status, last = r.end()
    assert status == 1 and "more than the 33554432 that are allowed here" in last["error"]


def test_an_acknowledgement_is_given_where_it_is_asked_for():
    main = stream(PLAIN[0] + ".mig")
    opened = main[:26] + bytes.fromhex("0800010000") + main[26:]
    with Receive("--switchover-ack") as r:
        assert feed(r.uri, opened) == bytes.fromhex("00070000") + SHUT[True]
        assert r.end()[0] == 0


# A Ferry waits for LOADED, then says GO or ABORT: values of PING and PONG.
HELLO, ANSWER, LOADED, GO, RUNNING, ABORT = (
    bytes.fromhex(f"fe7700{v}") for v in ("01", "02", "10", "11", "12", "13"))


def ping(value):
    return bytes.fromhex("0800020004") + value


def pong(value):
    return bytes.fromhex("00020004") + value


@pytest.mark.parametrize("word, status, kept", [(GO, 0, ["snapshot"]), (ABORT, 1, []),
                                                (b"", 6, ["snapshot"])])
def test_a_ferry_decides_when_everything_is_kept(word, status, kept, tmp_path):
    main = stream(PLAIN[0] + ".mig")
    with Receive("--output", str(tmp_path / "snapshot")) as r, connect(r.uri) as s:
        s.sendall(main[:26] + bytes.fromhex("0800010000") + ping(HELLO) + main[26:])
        said = b""
        while pong(LOADED) not in said:
            said += s.recv(100)
        assert said == pong(ANSWER) + pong(LOADED)
        assert os.listdir(tmp_path) == ["snapshot"], "it lasts before it is said"
        if word:
            s.sendall(ping(word))
            rest = b""
            while chunk := s.recv(100):
                rest += chunk
            assert rest == (pong(RUNNING) + SHUT[True] if word == GO else SHUT[False])
        s.close()
        ended, last = r.end()
    assert (ended, os.listdir(tmp_path)) == (status, kept), last


def test_a_stranger_at_the_door_is_dropped_alone():
    with Receive() as r:
        assert feed(r.uri, b"GET / HTTP/1.1\r\n\r\n") == b""
        feed(r.uri, stream(PLAIN[3] + ".mig"))
        status, said = r.end()
    assert status == 0 and said["machine"] == "pc-i440fx-10.0"
    assert [e.get("event") for e in r.events].count("dropped") == 1


def test_ctrl_c_while_it_waits(tmp_path):
    with Receive("--output", str(tmp_path / "snapshot")) as r:
        r.interrupt()
        assert r.end() == (3, {"status": "cancelled", "error": "cancelled"})
    assert os.listdir(tmp_path) == []


def test_ctrl_c_in_the_middle(tmp_path):
    with Receive("--ram-dir", str(tmp_path)) as r, connect(r.uri) as s:
        s.sendall(stream(PLAIN[0] + ".mig")[:1 << 20])
        while not (tmp_path / "pc.ram").exists():
            time.sleep(0.01)
        r.interrupt()
        assert r.end()[0] == 3
    assert os.listdir(tmp_path) == [], "files that it made are gone"


def test_a_silent_source_is_given_up():
    with Receive("--timeout", "200ms") as r, connect(r.uri) as s:
        s.sendall(stream(PLAIN[0] + ".mig")[:100000])
        status, last = r.end()
    assert status == 1 and last["status"] == "failed"


def test_an_endless_source_is_given_up():
    main = stream(PLAIN[0] + ".mig")
    first_part = main.find(bytes.fromhex("0200000002"))
    again = bytes.fromhex("0200000002" "0000000000000008") + b"\6pc.ram" + os.urandom(4096)
    again += bytes.fromhex("0000000000000010" "7e00000002")
    with Receive("--max-time", "500ms", "--timeout", "30s") as r, connect(r.uri) as s:
        s.sendall(main[:first_part])
        try:
            while True:
                s.sendall(again * 1000)
        except OSError:
            pass
        status, last = r.end()
    assert (status, last["error"]) == (1, "not done within --max-time")


@pytest.mark.parametrize("options, says", [
    (["--output", "{dir}/nowhere/at/all"], "No such file or directory"),
    (["--output", "{dir}"], "not a regular file"),
    (["--ram-dir", "/dev/null"], "/dev/null"),
])
def test_what_cannot_be_kept_is_refused_before_it_begins(options, says, tmp_path):
    done = ferry("receive", "tcp:127.0.0.1:0", "--json",
                 *[o.format(dir=tmp_path) for o in options])
    assert done.returncode == 5
    last = json.loads(done.stdout)
    assert last["status"] == "refused" and says in last["error"]


def test_an_address_in_use_is_refused_before_it_begins():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = ferry("receive", f"tcp:127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 5 and "in use" in done.stderr


@pytest.mark.parametrize("options, says", [
    ([], "too few"),
    (["nonsense"], "nonsense"),
    (["rdma:h:1"], "rdma"),
    (["tcp:h:1", "--channels", "256"], "--channels"),
    (["tcp:h:1", "--channels", "-1"], "--channels"),
    (["tcp:h:1", "--multifd-compression", "zstd"], "needs --channels"),
    (["tcp:h:1", "--channels", "2", "--multifd-compression", "qpl"], "qpl"),
    (["tcp:h:1", "--channels", "2", "--multifd-compression", "lz4"], "lz4"),
    (["tcp:h:1", "--uuid", "12"], "'12' is not a UUID"),
    (["tcp:h:1", "--max-ram", "0"], "--max-ram"),
    (["tcp:h:1", "--max-ram", "much"], "much"),
    (["tcp:h:1", "--max-device-state", "2G"], "--max-device-state"),
    (["tcp:h:1", "--timeout", "0"], "--timeout"),
    (["tcp:h:1", "--page-bits", "9"], "--page-bits"),
    (["tcp:h:1", "--output", "a", "--ram-dir", "b"], "exclude"),
])
def test_usage(options, says):
    done = ferry("receive", *options)
    assert done.returncode == 2 and says in done.stderr, done.stderr


def test_text_says_what_was_kept(tmp_path):
    (tmp_path / "in").write_bytes(stream(PLAIN[0] + ".mig"))
    done = ferry("receive", f"file:{tmp_path}/in", "--hash")
    assert done.returncode == 0, done.stderr
    assert "listening on" in done.stderr
    for word in ["pc-i440fx-7.2 (running)", "pc.ram", expected(PLAIN[0])["blocks"][0]["sha256"],
                 "kept      nowhere"]:
        assert word in done.stdout
