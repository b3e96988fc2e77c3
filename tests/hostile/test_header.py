"""The file header and the configuration: who may begin a migration, and as what."""
import pytest

import wire
from receiver import Peer, check_received
from wire import Stream, capabilities, configuration, page_bits, subsection, uuid

HEAD = wire.header()
UUID = bytes(range(16))


def test_a_good_stream_is_accepted(accepts):
    accepts(wire.GOOD)


@pytest.mark.parametrize("first", [b"GET / HTTP/1.0\r\n\r\n", b"MVEQ" + wire.be32(3),
                                   wire.hello(0), bytes(64), b"\xff" * 8, b"QEVN"],
                         ids=["http", "reversed", "multifd", "zeros", "ones", "one-bit"])
def test_m01_wrong_magic_costs_that_connection_only(receive, first):
    receiver = receive()
    stranger = Peer(receiver.uri, first)
    assert stranger.is_dropped()
    Peer(receiver.uri, wire.GOOD).hear()
    check_received(receiver)


@pytest.mark.parametrize("version", [0, 1, 2, 4, 2**32 - 1])
def test_m02_stream_version(refuses, version):
    refuses(wire.header(version) + configuration(), rf"stream version {version} is not supported",
            opened=False, declared=0)


@pytest.mark.parametrize("stream, words, opened", [
    (HEAD + wire.OPEN, "configuration is missing", False),
    (HEAD + wire.start(wire.block_list()), "configuration is missing", False),
    (HEAD + configuration() + configuration(), "configuration twice", False),
    (Stream().before("rounds") + configuration(), "configuration twice", True),
    (Stream().before("eof") + configuration() + wire.eof(), "'globalstate': its footer is missing",
     True),
], ids=["missing", "missing-start", "twice", "after-start", "after-devices"])
def test_m03_configuration_missing_twice_or_late(refuses, stream, words, opened):
    refuses(stream, words, opened=opened, ends=True)


@pytest.mark.parametrize("machine, length, words", [
    (b"", None, "machine name has length 0"),
    (b"x" * 256, None, "machine name has length 256"),
    (b"x", 2**31, "machine name has length 2147483648"),
    (b"x", 2**32 - 1, "machine name has length 4294967295"),
    (b"pc\0i440fx", None, "machine name is not text"),
    (b"pc\ni440fx", None, "machine name is not text"),
    (b"pc\xff", None, "machine name is not text"),
], ids=["0", "256", "2G", "4G", "nul", "newline", "not-utf8"])
def test_m04_machine_name(refuses, machine, length, words):
    refuses(HEAD + configuration(machine, length=length), words, opened=False, declared=0)


@pytest.mark.parametrize("subsections, words", [
    ([capabilities(count=2**32 - 1)], "4294967295 capabilities"),
    ([capabilities(*["x"] * 100)], "100 capabilities"),
    ([capabilities("sesame")], "capability 'sesame'"),
    ([capabilities("")], "capability's name"),
    ([capabilities("x-ignore-shared")], "'x-ignore-shared'"),
    ([capabilities("mapped-ram")], "'?mapped-ram'?"),
    ([capabilities("mapped-ram", "mapped-ram")], "mapped-ram"),
    ([capabilities("mapped-ram"), capabilities("mapped-ram")], "mapped-ram"),
], ids=["4G", "100", "unknown", "nameless", "ignore-shared", "mapped-ram", "duplicate",
        "list-twice"])
def test_m05_capabilities(refuses, subsections, words):
    refuses(HEAD + configuration(wire.MACHINE, *subsections) + wire.OPEN, words, opened=False,
            declared=0)


@pytest.mark.parametrize("subsections, words", [
    ([page_bits(0)], "target-page-bits is 0"),
    ([page_bits(9)], "target-page-bits is 9"),
    ([page_bits(11)], "target-page-bits is 11"),
    ([page_bits(17)], "target-page-bits is 17"),
    ([page_bits(63)], "target-page-bits is 63"),
    ([page_bits(2**32 - 1)], "target-page-bits is 4294967295"),
    ([uuid(UUID[:15])], "end of stream, but the ram section has not begun"),
    ([uuid(UUID + b"\0")], "end of stream, but the ram section has not begun"),
], ids=["0", "9", "11", "17", "63", "4G", "uuid-short", "uuid-long"])
def test_m06_page_bits_and_uuid(refuses, subsections, words):
    refuses(HEAD + configuration(wire.MACHINE, *subsections) + wire.OPEN +
            wire.start(wire.block_list()), words, opened=False)


@pytest.mark.parametrize("bits", [10, 13, 14, 16])
def test_m06_page_sizes_that_some_target_has(accepts, bits):
    size = 1 << bits
    blocks = (("ram", 4 * size),)
    data = wire.content(1, size)
    accepts(bytes(Stream(configuration=configuration("virt", page_bits(bits)),
                         start=wire.start(wire.block_list(blocks)),
                         rounds=wire.part(wire.page(size, data, "ram")), end=wire.end(),
                         eof=wire.eof(wire.describe(page_size=size)))),
            ram=wire.memory({("ram", size): data}, blocks))


@pytest.mark.parametrize("subsections, words", [
    ([subsection("configuration/x", b"")], "unknown subsection 'configuration/x'"),
    ([subsection("timer/x", b"")], "unknown subsection 'timer/x'"),
    ([subsection("", b"")], "subsection's name is not text"),
    ([page_bits(12), page_bits(12)], "target-page-bits twice"),
    ([uuid(UUID), uuid(UUID)], "uuid twice"),
    ([subsection("configuration/uuid", UUID, version=2)], "has version 2"),
], ids=["unknown", "other-device", "nameless", "page-bits-twice", "uuid-twice", "newer"])
def test_m07_subsections(refuses, subsections, words):
    refuses(HEAD + configuration(wire.MACHINE, *subsections) + wire.OPEN, words, opened=False,
            declared=0)
