"""A destination that lies to our source: the migration fails, and the guest runs on."""
import os
import socket
import subprocess

import pytest

import wire
from receiver import FERRY, harness
from wire import answer, be32
from workload import Workload

PING_HELLO, HELLO_ANSWER, PING_ALIVE = 0xfe770001, 0xfe770002, 0xfe770003
LOADED, RUNNING = 0xfe770010, 0xfe770012
GREETED = answer(wire.PONG, be32(PING_HELLO))  # as a stock QEMU echoes it


def pong(value):
    return answer(wire.PONG, be32(value))


def shut(value):
    return answer(wire.SHUT, be32(value))


@pytest.fixture
def source(directory):
    """A source whose guest writes throughout, and which no link is fast enough for."""
    with harness.Vm(directory, "source", accel="process",
                    workload="uniform,size=8M,rate=20000", memory="16M") as vm:
        vm.set(max_bandwidth=4 << 20, downtime_limit=1)
        yield vm
        print(f"--- {vm.process.returncode}\n{vm.log()}")


class Destination:
    """Accepts one migration and plays the destination of it."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "destination")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(harness.PATIENCE)
        self.listener.bind(self.path)
        self.listener.listen()
        self.uri = "unix:" + self.path
        self.heard = b""

    def accept(self):
        self.socket = self.listener.accept()[0]
        self.socket.settimeout(harness.PATIENCE)
        return self

    def hear_until(self, what):
        """Reads until @what has come; keeps little of it."""
        while what not in self.heard:
            data = self.socket.recv(65536)
            assert data, "the source hung up"
            self.heard = self.heard[-64:] + data

    def play_stock(self):
        """As a QEMU that loads everything: echoes what it is asked, and is content in the end."""
        heard = b""
        while not heard.endswith(b"]}"):
            data = self.socket.recv(65536)
            assert data, "the source hung up"
            heard = heard[-8:] + data  # one byte less than a PING
            for value in (PING_HELLO, PING_ALIVE):
                self.say(pong(value) * heard.count(wire.ping(value)))
        self.say(shut(0))

    def hear_out(self):
        """Takes everything until the source hangs up."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass

    def say(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass


def check_failed(source, *words):
    assert source.wait_status(*harness.ENDED) == "failed", source.migration()
    error = source.migration()["error-desc"].lower()
    assert any(word.lower() in error for word in words), error
    assert source.running()
    Workload(source).advances()


LIES = {
    "unknown-0": (answer(0), "unknown message 0"),
    "unknown-8": (answer(8), "unknown message 8"),
    "unknown-65535": (answer(65535, b"x" * 100), "unknown message 65535"),
    "shut-length-65535": (answer(wire.SHUT, b"x" * 100, 65535), "message 1 has length 65535"),
    "shut-length-0": (answer(wire.SHUT), "message 1 has length 0"),
    "pong-length-65535": (answer(wire.PONG, b"x" * 100, 65535), "message 2 has length 65535"),
    "ack-length-4": (answer(wire.SWITCHOVER_ACK, bytes(4)), "message 7 has length 4"),
    "req-pages": (answer(wire.REQ_PAGES, bytes(12)), "belongs to postcopy"),
    "req-pages-id": (answer(wire.REQ_PAGES_ID, bytes(12) + wire.name("pc.ram")),
                     "belongs to postcopy"),
    "recv-bitmap": (answer(wire.RECV_BITMAP, wire.name("pc.ram")), "belongs to postcopy"),
    "resume-ack": (answer(wire.RESUME_ACK, be32(1)), "belongs to postcopy"),
    "pong-unasked": (pong(7), "PONG without a PING"),
    "pong-1-unasked": (pong(1), "PONG without a PING"),
    "hello-twice": (GREETED, "a second greeting"),
    "shut-good-early": (shut(0), "good end before the end"),
    "shut-bad": (shut(1), "refused the migration"),
    "shut-4G": (shut(2**32 - 1), "refused the migration"),
    "shut-twice": (shut(0) + shut(0), "good end before the end"),
    "loaded-early": (pong(LOADED), "LOADED before"),
    "running-early": (pong(RUNNING), "RUNNING before"),
    "ack-twice": (answer(wire.SWITCHOVER_ACK) * 2, "acknowledged"),
    "garbage": (b"GET / HTTP/1.0\r\n\r\n", "message"),
}


@pytest.mark.parametrize("greeting", ["stock", "ferry"])
@pytest.mark.parametrize("lie, words", LIES.values(), ids=LIES)
def test_m54_return_path_to_our_source(source, directory, lie, words, greeting):
    destination = Destination(directory)
    source.migrate(destination.uri)
    destination.accept().hear_until(wire.ping(PING_HELLO))
    destination.say(pong(HELLO_ANSWER if greeting == "ferry" else PING_HELLO))
    destination.hear_until(wire.be64(wire.EOS) + bytes([wire.FOOTER]))
    destination.say(lie)
    destination.hear_out()
    check_failed(source, words)


@pytest.mark.parametrize("lie, words", [
    (shut(0), ["good end before", "hello"]), (pong(1), ["PONG without"]),
    (answer(9), ["unknown message 9"]), (b"QEVM", ["message"]), (shut(1), ["refused"]),
], ids=["shut-good", "pong", "unknown", "stream", "shut-bad"])
def test_m54_instead_of_a_greeting(source, directory, lie, words):
    destination = Destination(directory)
    source.migrate(destination.uri)
    destination.accept().say(lie)
    destination.hear_out()
    check_failed(source, *words)


def test_m54_destination_that_hangs_up(source, directory):
    destination = Destination(directory)
    source.migrate(destination.uri)
    destination.accept().hear_until(wire.ping(PING_HELLO))
    destination.say(GREETED)
    destination.hear_until(wire.be64(wire.EOS) + bytes([wire.FOOTER]))
    destination.socket.close()
    check_failed(source, "closed", "reset", "broken pipe")


def test_m54_source_migrates_after_all_that(source, directory):
    """To one that does everything right, as a stock QEMU."""
    liar = Destination(directory)
    source.migrate(liar.uri)
    liar.accept().say(shut(0))
    liar.hear_out()
    check_failed(source, "good end", "hello")
    os.unlink(liar.path)
    source.set(max_bandwidth=0, downtime_limit=2000)
    good = Destination(directory)
    source.migrate(good.uri)
    good.accept().play_stock()
    assert source.wait_status(*harness.ENDED) == "completed", source.migration()
    assert not source.running()


@pytest.mark.parametrize("lie, words", LIES.values(), ids=LIES)
def test_m54_return_path_to_ferry_send(directory, lie, words):
    """The snapshot is not given away: nobody but the liar says that it arrived."""
    path = os.path.join(directory, "snapshot")
    with open(path, "wb") as f:
        f.write(wire.mapped_file({"pc.ram": b"".join(map(wire.content, range(1024)))}))
    destination = Destination(directory)
    with subprocess.Popen([FERRY, "send", "--input", path, "--max-bandwidth", "2M",
                           destination.uri], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          text=True) as sender:
        destination.accept().hear_until(wire.ping(PING_HELLO))
        destination.say(GREETED + lie)
        destination.hear_out()
        errors = sender.communicate(timeout=harness.PATIENCE)[1]
    assert sender.returncode == 1, errors
    assert words in errors and "Sanitizer" not in errors, errors
