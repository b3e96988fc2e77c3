"""Device state, its description, and commands."""
import os
import re
from pathlib import Path

import pytest

import wire
from receiver import SHORT, Peer, check_received, check_refused, declared_bytes
from wire import (DEVICES, GLOBALSTATE, OPEN, Stream, command, describe, devices, eof, footer, full,
                  long_header, ping)

BEFORE = Stream().before("start")
ENDED = Stream().before("devices")
LAST = full(*GLOBALSTATE, section_id=90)
TIMER = full("timer", b"\1\2\3" * 8, section_id=40)


def described(**sizes):
    """A description in which the sections have other sizes."""
    return eof(describe([(idstr, bytes(sizes.get(idstr, len(body))))
                         for idstr, body in (*DEVICES, GLOBALSTATE)]))


@pytest.mark.parametrize("size", [0, 1, 23, 25, 2**20, 2**40])
def test_m48_section_of_another_length_is_found_by_its_footer(receive, size):
    """Sources do describe some sections wrongly; what ends at its own footer is whole."""
    text = describe().replace(b'"size": 24', b'"size": %d' % size)
    receiver = receive()
    Peer(receiver.uri, ENDED + devices() + eof(text)).hear()
    check_received(receiver)
    timer = receiver.result()["sections"][0]
    assert (timer["name"], timer["bytes"]) == ("timer", 24)


@pytest.mark.parametrize("body, words", [
    (TIMER[:-5], "'timer': its footer is missing"),
    (TIMER[:-5] + footer(41), "'timer': its footer is missing"),
    (TIMER + b"x", "'timer'.*footer|no section begins here|lists other"),
    (TIMER[:-6] + footer(40)[1:], "'timer': its footer is missing"),
], ids=["footer-missing", "footer-of-another", "garbage-behind", "footer-cut"])
def test_m48_section_without_end(refuses, body, words):
    refuses(ENDED + body + LAST + eof(describe([DEVICES[0], GLOBALSTATE])), words, ends=True)


@pytest.mark.parametrize("early", [False, True], ids=["after-ram", "early"])
def test_m48_endless_section_is_refused_at_the_cap(receive, early):
    receiver = receive()
    begin = (BEFORE if early else ENDED) + long_header(wire.FULL, 40, "blob", 0, 1)
    peer = Peer(receiver.uri, begin)
    peer.send_for_ever(b"blob" * (1 << 18))
    peer.hear()
    check_refused(receiver, "device state is larger than", declared_bytes())


def test_m48_the_cap_is_the_users(receive):
    """State that the default refuses is taken where more is allowed."""
    receiver = receive("--max-device-state", "64M")
    big = ("blob", bytes(25 << 20))
    Peer(receiver.uri, ENDED + devices([big, GLOBALSTATE]) +
         eof(describe([big, GLOBALSTATE]))).hear()
    assert receiver.wait() == 0
    result = receiver.result()
    assert result["status"] == "completed" and result["sections"][0]["bytes"] == len(big[1])


def test_m48_many_sections(refuses):
    refuses(ENDED + b"".join(full(f"d{i}", b"", i) for i in range(5000)) +
            eof(b""), "sections", ends=True)


@pytest.mark.parametrize("stream, words", [
    (ENDED + TIMER + TIMER + eof(b""), "'timer' instance 0 comes twice"),
    (BEFORE + TIMER + Stream().parts["start"] + wire.end() + TIMER + eof(b""), "comes twice"),
    (BEFORE + TIMER + TIMER + Stream().parts["start"], "comes twice"),
    (ENDED + TIMER + full("timer", b"other", 41) + eof(b""), "comes twice"),
], ids=["twice", "early-and-late", "early-twice", "other-content"])
def test_m49_device_twice(refuses, stream, words):
    refuses(stream, words)


def test_m49_a_section_that_the_description_lacks(refuses):
    refuses(ENDED + devices() + eof(describe(DEVICES)), "lists other sections", ends=True)


def test_m49_a_section_that_only_the_description_has(refuses):
    refuses(ENDED + devices(DEVICES) + eof(), "lists other sections", ends=True)


@pytest.mark.parametrize("bad, words", [
    (command(0), "command 0 is invalid"), (command(12), "command 12 is unknown"),
    (command(255), "command 255"), (command(65535), "command 65535"),
    (command(2, b""), "ping has length 0"), (command(2, bytes(3)), "ping has length 3"),
    (command(2, bytes(4), length=5), "ping has length 5"),
    (command(2, length=65535), "ping has length 65535"),
    (command(1, bytes(4)), "open-return-path has length 4"),
    (command(11, b"\0"), "switchover-start has length 1"),
], ids=["0", "12", "255", "65535", "ping-0", "ping-3", "ping-5", "ping-65535", "open-4",
        "switchover-1"])
@pytest.mark.parametrize("place", [BEFORE, ENDED], ids=["early", "late"])
def test_m50_command(refuses, place, bad, words):
    refuses(place + bad, words)


@pytest.mark.parametrize("bad", [
    command(7, wire.be32(0)), command(7, wire.be32(2**32 - 1)),
    command(7, wire.be32(20)) + command(7, wire.be32(10)), command(7, wire.be32(100)) + b"x",
    command(7), command(7, b"\0"),
], ids=["0", "4G", "nested", "cut", "no-length", "short-length"])
def test_m51_packaged(refuses, bad):
    refuses(ENDED + bad, r"postcopy is not supported \(command packaged\)")


POSTCOPY = {
    "postcopy-advise": command(3, wire.be64(4096) * 2), "postcopy-listen": command(4),
    "postcopy-run": command(5), "postcopy-ram-discard": command(6, b"\0\6pc.ram\0" + bytes(16)),
    "postcopy-resume": command(9), "recv-bitmap": command(10, b"\6pc.ram"),
}


@pytest.mark.parametrize("what", POSTCOPY)
@pytest.mark.parametrize("place", [BEFORE, ENDED], ids=["early", "late"])
def test_m52_postcopy(refuses, place, what):
    refuses(place + POSTCOPY[what], rf"postcopy is not supported \(command {what}\)")


def test_m52_colo(refuses):
    refuses(BEFORE + command(8), r"colo is not supported \(command enable-colo\)")


def test_m53_return_path_opened_twice(accepts):
    accepts(bytes(Stream(commands=OPEN + ping(1) + OPEN + ping(2))))


@pytest.mark.parametrize("stream", [
    Stream(commands=b"").before("commands") + ping(1),
    Stream(commands=b"").before("eof") + ping(1) + eof(),
], ids=["first", "among-devices"])
def test_m53_ping_before_the_return_path(refuses, stream):
    refuses(stream, "command ping before open-return-path", opened=False)


def test_m53_no_return_path_at_all(accepts):
    accepts(bytes(Stream(commands=b"")), opened=False)


@pytest.mark.parametrize("value", [0, 42, 2**32 - 1])
def test_m53_every_ping_is_answered(receive, value):
    receiver = receive()
    said = wire.answers(Peer(receiver.uri, bytes(Stream(commands=OPEN + ping(value) * 3))).hear())
    check_received(receiver)
    assert said == [(wire.PONG, wire.be32(value))] * 3 + [(wire.SHUT, wire.be32(0))]


def test_m55_switchover_ack_only_when_asked_for(receive):
    """One, in front of the first PONG, with the option; none without."""
    receiver = receive("--switchover-ack")
    said = wire.answers(Peer(receiver.uri, bytes(Stream(commands=OPEN + OPEN + ping(1)))).hear())
    check_received(receiver)
    assert said == [(wire.SWITCHOVER_ACK, b""), (wire.PONG, wire.be32(1)),
                    (wire.SHUT, wire.be32(0))]


# What two Ferrys say to each other, said by somebody who has not earned it.

def ferry_words():
    header = (Path(__file__).parent / "../../protocol/extension.h").read_text(encoding="utf-8")
    return {k: int(v, 16) for k, v in re.findall(r"FERRY_PING_(\w+) = (0x[0-9a-fA-F]+)", header)}


@pytest.mark.parametrize("what", ["GO", "ABORT"])
def test_go_before_everything_is_loaded(refuses, what):
    words = ferry_words()
    refuses(BEFORE + ping(words["HELLO"]) + ping(words[what]), f"{what} before everything was")


def test_second_greeting(refuses):
    hello = ping(ferry_words()["HELLO"])
    refuses(BEFORE + hello + hello, "a second greeting")


def test_abort_after_everything_is_loaded(receive):
    """The source took its guest back: nothing is kept here."""
    words = ferry_words()
    receiver = receive()
    peer = Peer(receiver.uri, bytes(Stream(commands=OPEN + ping(words["HELLO"]))))
    peer.hear_until(lambda said: len(said) == 2)
    peer.send(ping(words["ABORT"])).hear()
    check_refused(receiver, "took the guest back", declared_bytes())


def test_silence_after_everything_is_loaded_is_in_doubt(receive):
    """A Ferry that was told LOADED may have released its guest: both copies are kept."""
    words = ferry_words()
    receiver = receive("--timeout", SHORT)
    peer = Peer(receiver.uri, bytes(Stream(commands=OPEN + ping(words["HELLO"]))))
    peer.hear()
    assert receiver.wait() == 6
    assert "in doubt" in receiver.errors()
    assert os.path.exists(receiver.output)
