"""A live destination that waits for its guest: what is refused leaves it as it was, and the next
migration succeeds."""
import os
import socket

import pytest

import harness
import wire
from wire import PAGE, Stream

MEMORY = 16 << 20
OPTIONS = {"accel": "process", "memory": "16M"}
WORKLOAD = "uniform,size=1M,rate=100"
PC_RAM = (("pc.ram", MEMORY),)
MACHINE = "ferry-vm"


@pytest.fixture
def machine(directory):
    """machine(name, ...) starts one; all are killed at the end."""
    started = []

    def start(name, **more):
        started.append(harness.Vm(directory, name, workload=WORKLOAD, **OPTIONS, **more))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        print(f"--- {one.name}\n{one.log()}")


@pytest.fixture
def recorded(machine, directory):
    """A real stream of such a guest, in its parts."""
    path = os.path.join(directory, "stream")
    source = machine("recorded", paused=True)
    source.migrate("file:" + path)
    source.wait_status("completed")
    source.kill()
    with open(path, "rb") as f:
        return f.read()


def listen(vm, uri):
    """Waits for a source, and stays when that fails."""
    vm.qmp("migrate-incoming", **{"uri": uri, "exit_on_error": False})


class Waiting:
    """A destination that is lied to."""

    def __init__(self, machine, directory):
        self.vm = machine("destination", incoming=True)
        self.directory = directory
        self.n = 0

    def lie(self, stream, words):
        """Sends @stream, and expects the error that it deserves."""
        self.n += 1
        path = os.path.join(self.directory, f"lie-{self.n}")
        listen(self.vm, "unix:" + path)
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(harness.PATIENCE)
            s.connect(path)
            try:
                s.sendall(stream)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass
        self.vm.wait_status("failed")
        error = self.vm.migration()["error-desc"]
        assert any(w in error for w in words.split("|")), error
        assert self.vm.alive() and self.vm.run_state() == "inmigrate"
        with self.vm.ram() as ram:
            assert not ram[:].strip(b"\0"), "something of it was kept"

    def check_takes_a_guest(self, machine):
        source = machine("source")
        source.set(max_bandwidth=0, downtime_limit=2000)
        path = os.path.join(self.directory, "good")
        listen(self.vm, "unix:" + path)
        source.migrate("unix:" + path)
        assert source.wait_status(*harness.ENDED) == "completed", source.migration()
        harness.until(self.vm.running, "the guest to run here")


@pytest.fixture
def waiting(machine, directory):
    return Waiting(machine, directory)


def ours(**parts):
    """A stream of a machine with this memory."""
    return Stream(**{"configuration": wire.configuration(MACHINE),
                     "start": wire.start(wire.block_list(PC_RAM)),
                     "rounds": wire.part(wire.page(0, wire.content(0), "pc.ram")),
                     "end": wire.end(), **parts})


def other_list(*blocks):
    return bytes(ours(start=wire.start(wire.block_list(blocks))))


LIES = {
    "m02-version": (wire.header(2), "stream version 2"),
    "m03-no-configuration": (wire.header() + wire.OPEN, "configuration is missing"),
    "m04-prefix-of-the-machine": (bytes(ours(configuration=wire.configuration("ferry"))),
                                  "'ferry' at the source"),
    "m04-longer-machine": (bytes(ours(configuration=wire.configuration("ferry-vm2"))),
                           "'ferry-vm2' at the source"),
    "m06-page-size": (bytes(ours(configuration=wire.configuration(MACHINE, wire.page_bits(10)))),
                      "pages of 1024"),
    "m08-section-type": (ours().before("rounds") + b"\x55", "unknown section type"),
    "m17-unknown-block": (other_list(("vga", MEMORY)), "'vga'"),
    "m18-smaller-block": (other_list(("pc.ram", MEMORY // 2)), "'pc.ram'"),
    "m18-larger-block": (other_list(("pc.ram", MEMORY * 2)), "'pc.ram'"),
    "m18-one-block-more": (other_list(*PC_RAM, ("vga", PAGE)), "'vga'"),
    "m20-page-outside": (bytes(ours(rounds=wire.part(wire.page(MEMORY, wire.content(0),
                                                               "pc.ram")))), "is outside"),
    "m24-fill-byte": (bytes(ours(rounds=wire.part(wire.zero(0, "pc.ram", 7)))), "filled with"),
    "m29-no-base": (bytes(ours(rounds=wire.part(wire.xbzrle(PAGE, b"\0\1x", "pc.ram")))), "0x1000"),
    "m48-unknown-device": (bytes(ours()), "does not exist here"),
    "m49-nothing-of-a-device": (bytes(ours(devices=wire.devices([wire.GLOBALSTATE]),
                                           eof=wire.eof(wire.describe([wire.GLOBALSTATE])))),
                                "is missing in the stream|wrong length"),
    "m52-postcopy": (ours().before("start") + wire.command(4), "postcopy is not supported"),
}


@pytest.mark.parametrize("stream, words", LIES.values(), ids=LIES)
def test_refused_and_still_there(waiting, stream, words):
    waiting.lie(stream, words)


def test_takes_a_guest_after_every_lie(waiting, machine):
    for stream, words in LIES.values():
        waiting.lie(stream, words)
    waiting.check_takes_a_guest(machine)


def test_m01_wrong_magic_ends_nothing(waiting, machine):
    """Only that connection is closed: the machine still waits."""
    path = os.path.join(waiting.directory, "good")
    listen(waiting.vm, "unix:" + path)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(harness.PATIENCE)
        s.connect(path)
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        try:
            assert s.recv(1) == b""
        except ConnectionResetError:
            pass
    source = machine("source")
    source.set(max_bandwidth=0, downtime_limit=2000)
    source.migrate("unix:" + path)
    assert source.wait_status(*harness.ENDED) == "completed", source.migration()


def test_m49_devices_of_a_real_stream(waiting, recorded, machine):
    """Missing, twice and in front of RAM's end: the sections of a real guest."""
    mark = recorded.rindex(b"\0\6")
    end = recorded.rindex(wire.be64(wire.EOS) + bytes([wire.FOOTER]), 0, mark) + 13
    own_footer = bytes([wire.FOOTER]) + recorded[end + 1:end + 5]
    section = recorded[end:recorded.index(own_footer, end) + 5]
    ram = recorded.index(wire.long_header(wire.START, 0, "ram", 0, 4)[5:]) - 5
    assert section[0] == wire.FULL and recorded[ram] == wire.START
    rest = recorded[end + len(section):mark] + wire.eof(b"")
    waiting.lie(recorded[:end] + rest, "is missing in the stream")
    waiting.lie(recorded[:end] + section + section + rest, "comes twice")
    waiting.lie(recorded[:ram] + section + recorded[ram:end] + rest, "before the end of ram")
    waiting.check_takes_a_guest(machine)
