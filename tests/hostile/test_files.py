"""Snapshots that lie, and files that are none: `ferry send` and `ferry inspect` refuse them by
name, and a destination that waits hears nothing of it."""
import json
import os
import socket
import subprocess

import pytest

import harness
import wire
from receiver import FERRY, check_received, sha256
from wire import PAGE

MANY = {"pc.ram": wire.content(1) * 64, "pc.bios": wire.content(2) * 16}


def run(*words, patience=harness.PATIENCE):
    return subprocess.run([FERRY, *words], capture_output=True, text=True, timeout=patience,
                          stdin=subprocess.DEVNULL, check=False)


def check_alive(done):
    """It decided itself how it ended."""
    assert done.returncode >= 0, (done.returncode, done.stderr)
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr


@pytest.fixture
def refuses_file(directory):
    """refuses_file(BYTES, WORDS)."""

    def check(data, words, *options, verbs=("send", "inspect")):
        path = os.path.join(directory, "snapshot")
        if isinstance(data, bytes):
            with open(path, "wb") as f:
                f.write(data)
        else:
            data(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.path.join(directory, "destination"))
        listener.listen()
        listener.setblocking(False)
        commands = {"send": ("--input", path, *options, f"unix:{directory}/destination"),
                    "inspect": ("--hash", *options, path)}
        for verb in verbs:
            done = run(verb, *commands[verb])
            check_alive(done)
            assert done.returncode in (1, 5), (verb, done.returncode, done.stderr)
            assert any(w in done.stderr.lower() for w in words.split("|")), (verb, done.stderr)
        with pytest.raises(BlockingIOError):
            listener.accept()
        listener.close()

    return check


def test_a_good_file_is_sent(receive, directory):
    path = os.path.join(directory, "good")
    with open(path, "wb") as f:
        f.write(wire.mapped_file())
    receiver = receive()
    done = run("send", "--input", path, receiver.uri)
    assert done.returncode == 0, done.stderr
    check_received(receiver)
    shown = json.loads(run("inspect", "--json", "--hash", path).stdout)
    assert {b["name"]: b["sha256"] for b in shown["blocks"]} == sha256(wire.GOOD_RAM)


LIES = {
    "version-0": ({"version": 0}, "version"), "version-2": ({"version": 2}, "version"),
    "version-4G": ({"version": 2**32 - 1}, "version"),
    "page-size-0": ({"page_size": 0}, "page"), "page-size-1": ({"page_size": 1}, "page"),
    "page-size-8192": ({"page_size": 8192}, "page"),
    "page-size-2^63": ({"page_size": 2**63}, "page"),
    "bitmap-elsewhere": ({"bitmap_offset": lambda at: at + 8}, "bitmap"),
    "bitmap-over-header": ({"bitmap_offset": lambda at: at - 28}, "bitmap"),
    "bitmap-0": ({"bitmap_offset": 0}, "bitmap"),
    "bitmap-past-the-end": ({"bitmap_offset": 2**40}, "bitmap"),
    "bitmap-wraps": ({"bitmap_offset": 2**64 - 8}, "bitmap"),
    "pages-0": ({"pages_offset": 0}, "pages"),
    "pages-over-bitmap": ({"pages_offset": lambda at: at - PAGE}, "pages"),
    "pages-unaligned": ({"pages_offset": lambda at: at + 1}, "pages|aligned"),
    "pages-past-the-end": ({"pages_offset": 2**40}, "end|file|bytes"),
    "pages-wrap": ({"pages_offset": 2**64 - PAGE}, "pages"),
    "pages-wrap-with-length": ({"pages_offset": 2**64 - 64 * PAGE}, "pages"),
}


@pytest.mark.parametrize("lies, words", LIES.values(), ids=LIES)
def test_m56_mapped_ram_header(refuses_file, lies, words):
    refuses_file(wire.mapped_file(**lies), words)


def test_m56_bit_beyond_the_block(refuses_file):
    ram = {"pc.ram": wire.content(1) * 60}
    refuses_file(wire.mapped_file(ram, bitmap=lambda words: b"\xff" * len(words)),
                 "marked behind its last|the bitmap has page 60")


@pytest.mark.parametrize("length", [60, 92, 100, 120])
def test_m56_file_ends_in_header_or_bitmap(refuses_file, length):
    refuses_file(wire.mapped_file()[:length], "end|cut|inside|byte")


@pytest.mark.parametrize("pages", [0, 1, 63, 66])
def test_m56_file_ends_in_pages(refuses_file, pages):
    data = wire.mapped_file(MANY)
    first = data.index(wire.content(1))
    refuses_file(data[:first + pages * PAGE + 17], "end|cut|inside|byte")


def test_m56_two_blocks_in_one_place(refuses_file):
    """The second block's header points into the first one's pages."""
    data = bytearray(wire.mapped_file(MANY))
    second = data.index(wire.name("pc.bios")) + 8 + 8
    at = data.index(wire.content(1))
    data[second + 20:second + 28] = wire.be64(at)
    refuses_file(bytes(data), "pages|overlap|behind")


@pytest.mark.parametrize("part", [
    wire.part(wire.page(0, wire.content(0), "pc.ram")), wire.part(wire.zero(0, "pc.ram")),
    wire.part(wire.xbzrle(0, b"\0\1x", "pc.ram")), wire.part(wire.flush()),
    wire.part(wire.bare(wire.HOOK)),
], ids=["page", "zero", "xbzrle", "flush", "hook"])
def test_m56_pages_in_the_stream(refuses_file, part):
    tail = wire.eos() + wire.footer() + part + wire.end() + wire.devices() + wire.eof()
    refuses_file(wire.mapped_file(tail=tail), "mapped|not supported|page")


def test_m56_capability_missing(refuses_file):
    refuses_file(wire.mapped_file(head=wire.header() + wire.configuration()),
                 "mapped-ram|name is empty|section|block|flags")


def test_m57_directory(refuses_file):
    refuses_file(os.mkdir, "directory|regular")


def test_m57_fifo(refuses_file):
    """Nobody waits for somebody to write. (Inspecting what another program writes is fine.)"""
    refuses_file(os.mkfifo, "regular|fifo|seek|illegal", verbs=("send",))


def test_m57_socket(refuses_file):
    def make(path):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
    refuses_file(make, "no such device|regular")


def test_m57_device(refuses_file):
    refuses_file(lambda path: os.symlink("/dev/zero", path), "regular|mig")


def test_m57_symlink_is_followed(receive, directory):
    path = os.path.join(directory, "good")
    with open(path, "wb") as f:
        f.write(wire.mapped_file())
    os.symlink("good", path + ".link")
    receiver = receive()
    assert run("send", "--input", path + ".link", receiver.uri).returncode == 0
    check_received(receiver)


@pytest.mark.parametrize("size", [2**40, 2**43 - PAGE])
def test_m57_sparse_file(refuses_file, size):
    """A block as large as the file says, which is as large as a file can be."""
    def make(path):
        head = (wire.header() + wire.configuration(wire.MACHINE, wire.capabilities("mapped-ram")) +
                wire.long_header(wire.START, 2, "ram", 0, 4) + wire.be64(size | wire.MEM_SIZE) +
                wire.name("pc.ram") + wire.be64(size))
        bitmap = len(head) + 28
        pages = -(-(bitmap + size // PAGE // 8) // PAGE) * PAGE
        with open(path, "wb") as f:
            f.write(head + wire.mapped_header(bitmap, pages))
            try:
                f.truncate(pages + size)
            except OSError as e:
                pytest.skip(f"no file of {size} bytes here: {e}")
    refuses_file(make, "ram|memory", "--max-ram", "1G")


def test_m57_file_that_shrinks_while_it_is_sent(receive, directory):
    """An error like any other, or what had been read before; never a signal."""
    path = os.path.join(directory, "shrinks")
    ram = {"pc.ram": b"".join(map(wire.content, range(2048)))}
    with open(path, "wb") as f:
        f.write(wire.mapped_file(ram))
    receiver = receive()
    with subprocess.Popen([FERRY, "send", "--max-bandwidth", "8M", "--input", path, receiver.uri],
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as sender:
        def begun():
            return any(line and line.get("phase") == "iterate" for line in receiver.lines)
        harness.until(begun, "the first pages")
        os.truncate(path, 5000)
        errors = sender.communicate(timeout=harness.PATIENCE)[1]
    assert sender.returncode in (0, 1), (sender.returncode, errors)
    if sender.returncode == 0:
        check_received(receiver, ram)
    else:
        assert "ended" in errors or "short" in errors or "shrunk" in errors, errors
