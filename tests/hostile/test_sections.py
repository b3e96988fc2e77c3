"""The skeleton: which section may stand where, its name, its version, its footer, and the end."""
import pytest

import wire
from receiver import Peer, check_received, check_refused, declared_bytes
from wire import FULL, START, Stream, be32, long_header

BEFORE = Stream().before("start")
OPENED = Stream().before("rounds")
ENDED = Stream().before("devices")
DONE = Stream().before("eof")
PLACES = {"before-ram": BEFORE, "in-ram": OPENED, "after-ram": ENDED}


@pytest.mark.parametrize("kind", [0x09, 0x0a, 0x40, 0x7d, 0x7f, 0x80, 0xff])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_m08_unknown_section_type(refuses, place, kind):
    refuses(place + bytes([kind]) + bytes(64), f"unknown section type 0x{kind:02x}")


@pytest.mark.parametrize("kind", [0x05, 0x06, 0x7e])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_m08_type_that_stands_elsewhere(refuses, place, kind):
    refuses(place + bytes([kind]) + bytes(64), f"0x{kind:02x} where a section must begin")


@pytest.mark.parametrize("kind", [0x05, 0x07, 0x09, 0x7e, 0xff])
def test_m08_among_device_sections(refuses, kind):
    refuses(DONE + bytes([kind]) + wire.eof(), "'globalstate': its footer is missing", ends=True)


@pytest.mark.parametrize("stream, words", [
    (BEFORE + wire.part(), "PART section 2 before the START of ram"),
    (BEFORE + wire.end(), "END section 2 before the START of ram"),
    (ENDED + wire.end(), "END section 2 after the END of ram"),
    (ENDED + wire.part(), "PART section 2 after the END of ram"),
    (OPENED + wire.start(wire.block_list()), "a second START"),
    (OPENED + wire.start(wire.block_list(), section_id=3), "a second START"),
    (ENDED + wire.start(wire.block_list()), "a second START"),
], ids=["part-first", "end-first", "end-twice", "part-after-end", "start-twice",
        "start-twice-other-id", "start-after-end"])
def test_m09_order_of_ram_sections(refuses, stream, words):
    refuses(stream, words)


@pytest.mark.parametrize("stream, words", [
    (OPENED + wire.part(section_id=7), "PART section 7: the open ram section is 2"),
    (OPENED + wire.end(section_id=0), "END section 0: the open ram section is 2"),
    (OPENED + wire.part(section_id=2**32 - 1), "PART section 4294967295"),
    (BEFORE + wire.part(section_id=0), "PART section 0 before the START of ram"),
], ids=["part", "end", "part-4G", "zero-before-start"])
def test_m10_section_ids(refuses, stream, words):
    refuses(stream, words)


@pytest.mark.parametrize("kind", [START, FULL], ids=["start", "full"])
@pytest.mark.parametrize("idstr", [b"", b"\xff\xfe", b"ra\0m", b"ra\x1bm"],
                         ids=["empty", "not-utf8", "nul", "escape"])
def test_m11_section_name(refuses, kind, idstr):
    refuses(BEFORE + long_header(kind, 2, idstr, 0, 4), "name is (empty or )?not text")


@pytest.mark.parametrize("kind", [START, FULL], ids=["start", "full"])
def test_m11_section_name_truncated(refuses, kind):
    refuses(BEFORE + bytes([kind]) + be32(2) + b"\xffram", "the stream ended inside", ends=True)


@pytest.mark.parametrize("start, words", [
    (wire.start(wire.block_list(), version=5), "instance 0, version 5"),
    (wire.start(wire.block_list(), version=3), "version 3"),
    (wire.start(wire.block_list(), version=2**32 - 1), "version 4294967295"),
    (wire.start(wire.block_list(), instance=1), "instance 1"),
    (wire.start(wire.block_list(), idstr="RAM"), "not supported .section 'RAM'."),
    (wire.start(idstr="block", version=1), "block"),
    (wire.start(idstr="dirty-bitmap", version=1), "dirty-bitmap"),
    (wire.start(idstr="0000:00:02.0/vfio", version=1), "vfio"),
], ids=["5", "3", "4G", "instance", "other-case", "block", "dirty-bitmap", "vfio"])
def test_m12_version_of_the_ram_section(refuses, start, words):
    refuses(BEFORE + start, words)


@pytest.mark.parametrize("stream, words", [
    (OPENED[:-5] + wire.part(), "footer expected for section 2, found 0x02"),
    (OPENED[:-5] + b"\x7f" + be32(2), "found 0x7f for 2"),
    (OPENED[:-5] + wire.footer(3), "found 0x7e for 3"),
    (ENDED[:-5] + wire.devices(), "footer expected for section 2, found 0x04"),
    (ENDED[:-5] + wire.eof(), "found 0x00"),
], ids=["missing", "wrong-mark", "wrong-id", "missing-after-end", "missing-before-eof"])
def test_m13_footer_of_ram(refuses, stream, words):
    refuses(stream, words)


@pytest.mark.parametrize("last", [b"", b"\x7f" + be32(42), wire.footer(41)],
                         ids=["missing", "wrong-mark", "wrong-id"])
def test_m13_footer_of_a_device(refuses, last):
    refuses(DONE[:-5] + last + wire.eof(), "'globalstate': its footer is missing")


@pytest.mark.parametrize("stream, words", [
    (BEFORE + wire.eof(), "end of stream, but the ram section has not begun"),
    (OPENED + wire.eof(), "end of stream, but the ram section has not ended"),
    (OPENED[:-5] + wire.eof(), "footer expected"),
], ids=["before-ram", "ram-open", "in-section"])
def test_m14_end_mark_in_ram(refuses, stream, words):
    refuses(stream, words)


@pytest.mark.parametrize("stream", [b"", BEFORE, OPENED, ENDED, DONE, DONE + b"\0",
                                    DONE + b"\0\6", DONE + wire.eof()[:-1]],
                         ids=["nothing", "before-ram", "ram-open", "after-ram", "no-end-mark",
                              "no-description", "description-type", "description-cut"])
def test_m14_stream_ends_early(refuses, receive, stream):
    if stream:
        refuses(stream, "the stream ended inside", ends=True)
        return
    receiver = receive()
    Peer(receiver.uri).close()  # said nothing: that is no source
    Peer(receiver.uri, wire.GOOD).hear()
    check_received(receiver)


@pytest.mark.parametrize("description, length, words", [
    (b"{", 2**32 - 1, "device state or its description"),
    (b"{", 2**31, "device state or its description"),
    (b"abc", None, "not a JSON object"),
    (b"[" * 1000000, None, "JSON|nest"),
    (b'{"devices": ' + b"[" * 1000000, None, "JSON|nest"),
    (b'{"devices": [' + b'{"fields": [' * 100000, None, "JSON|nest"),
    (b'{"devices": [{"name": "x", "instance_id": 1e999}]}', None, "device|lists other"),
    (b'{"devices": []}', None, "lists other sections"),
    (b"\0" * 100, None, "not a JSON object"),
], ids=["4G", "2G", "text", "nested", "nested-value", "nested-fields", "number", "other", "zeros"])
def test_m15_description(refuses, description, length, words):
    refuses(DONE + wire.eof(description, length), words, ends=True)


def test_m15_description_is_not_stored_without_limit(receive):
    receiver = receive()
    peer = Peer(receiver.uri, DONE + wire.eof(b'{"x": "', 2**32 - 1))
    peer.send_for_ever(b"y" * (1 << 20))
    peer.hear()
    check_refused(receiver, "device state is larger than", declared_bytes())


def test_m15_description_of_length_0(accepts):
    accepts(DONE + wire.eof(b""))
