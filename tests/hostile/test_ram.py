"""The ram section: the block list and the records of pages."""
import os
import threading

import pytest

import wire
from receiver import SHORT, Peer, check_refused
from wire import CONTINUE, PAGE, RAW, ZERO, Stream, be64, block_list, content, page, record, zero

BEFORE = Stream().before("start")
OPENED = Stream().before("rounds")
TOTAL = sum(n for _, n in wire.BLOCKS)
IN_PART = OPENED + b"\x02" + wire.be32(wire.RAM_ID)
NAMED = IN_PART + page(0, content(0), "pc.ram")


def begin(*blocks, total=None):
    """Up to the block list."""
    return BEFORE + wire.long_header(wire.START, 2, "ram", 0, 4) + block_list(blocks, total)


@pytest.mark.parametrize("stream, words", [
    (begin(total=0), "total is 0"),
    (begin(("a", 8192), total=4096), "'a': length 8192, but only 4096"),
    (begin(("a", 4096), ("b", 8192), total=8192), "'b': length 8192, but only 4096"),
    (begin(("a", 2**64 - 4096), ("b", 8192), total=4096), "'a'"),
    (begin(("a", 4096), ("b", 2**64 - 4096), ("c", 4096), total=4096 * 2), "'b'"),
    (begin(("a", 4096), total=8192) + wire.eos() * 2, "name is empty"),
], ids=["0", "smaller-than-first", "smaller-than-sum", "wraps-at-once", "wraps-later", "larger"])
def test_m16_total_of_the_list(refuses, stream, words):
    refuses(stream, words, declared=0)


@pytest.mark.parametrize("stream, words", [
    (begin(("", 4096)), "name is empty"),
    (begin(("a\0b", 4096)), "not text"),
    (begin((b"\xc3\x28", 4096)), "not text"),
    (begin(("a", 4096), ("a", 4096)), "'a' is listed twice"),
    (begin(("a", 4096), ("a", 8192)), "'a' is listed twice"),
    (IN_PART + page(0, content(0), "vga"), "block 'vga' is not in the list"),
    (IN_PART + page(0, content(0), ""), "name is empty"),
    (IN_PART + page(0, content(0), "PC.RAM"), "'PC.RAM' is not in the list"),
    (IN_PART + page(0, content(0), "x" * 255), "'x{255}' is not in the list"),
], ids=["empty", "nul", "not-utf8", "twice", "twice-other-length", "unknown", "nameless",
        "other-case", "255-bytes"])
def test_m17_block_names(refuses, stream, words):
    refuses(stream, words)


@pytest.mark.parametrize("title", ["x" * 255, "../../etc/passwd", "a/b", ".", "..", "%2F"],
                         ids=["255", "dots", "slash", "dot", "dotdot", "percent"])
def test_m17_block_name_is_no_path(accepts, directory, title):
    """As a file of --ram-dir it stays in there."""
    ram = os.path.join(directory, "ram")
    os.mkdir(ram)
    blocks = ((title, 4 * PAGE),)
    accepts(bytes(Stream(start=wire.start(block_list(blocks)),
                         rounds=wire.part(page(PAGE, content(1), title)), end=wire.end())),
            "--ram-dir", ram, ram=wire.memory({(title, PAGE): content(1)}, blocks))
    [only] = os.listdir(ram)
    assert os.path.getsize(os.path.join(ram, only)) == 4 * PAGE
    assert set(os.listdir(directory)) <= {"ram", "output", "log", "socket"}


@pytest.mark.parametrize("length, words", [
    (0, "length 0 is not a number of pages"), (1, "length 1 is"), (4097, "length 4097"),
    (2**63 + 1, "not a number of pages")], ids=["0", "1", "4097", "odd"])
def test_m18_block_length(refuses, length, words):
    refuses(begin(("a", length), total=2**63 + 2**62), words, declared=0)


@pytest.mark.parametrize("length", [2**40, 2**46, 2**50, 2**63, 2**64 - 4096],
                         ids=["1T", "64T", "1P", "8E", "most"])
def test_m18_block_above_the_limit(refuses, length):
    refuses(begin(("a", length)) + wire.eos(), "'a'.*(RAM|memory|limit)|(RAM|memory|limit).*'a'",
            "--max-ram", "1G", declared=0)


@pytest.mark.parametrize("length", [2**46, 2**50, 2**63], ids=["64T", "1P", "8E"])
def test_m18_block_that_no_host_has(refuses, length):
    refuses(begin(("a", length)) + wire.eos(), "'a'", declared=0)


def test_m18_sum_above_the_limit(refuses):
    refuses(begin(*((f"b{i}", 1 << 28) for i in range(5))) + wire.eos(), "'b4'", "--max-ram", "1G",
            declared=0)


def test_m18_declared_memory_costs_nothing_before_pages_come(refuses):
    refuses(begin(("a", 1 << 34)) + wire.eos() + wire.footer() + b"\xff", "unknown section type",
            declared=0)


@pytest.mark.parametrize("stream", [
    OPENED + wire.part(block_list()),
    NAMED + block_list(),
    BEFORE + wire.start(block_list(), block_list()),
    OPENED + wire.part(block_list((("other", 4096),))),
], ids=["in-part", "after-pages", "in-start", "other-blocks"])
def test_m19_second_block_list(refuses, stream):
    refuses(stream, "a block list for the second time")


@pytest.mark.parametrize("block, length", wire.BLOCKS, ids=["pc.ram", "pc.bios"])
@pytest.mark.parametrize("kind", ["page", "zero", "continued"])
def test_m20_page_offset_outside_its_block(refuses, block, length, kind):
    bad = {"page": page(length, content(1), block), "zero": zero(length, block),
           "continued": page(0, content(0), block) + page(length, content(1))}[kind]
    refuses(IN_PART + bad, rf"'{block}': page at {length:#x} is outside its {length:#x} bytes")


def test_m20_offset_that_is_no_page(refuses):
    """The low bits are flags, and these are none."""
    refuses(IN_PART + be64(64 * PAGE - 1) + wire.name("pc.ram") + content(0),
            "unknown combination of flags 0xfff")


@pytest.mark.parametrize("offset", [2**64 - PAGE, 2**63, 2**63 - PAGE, 2**32],
                         ids=["last", "2^63", "below-2^63", "2^32"])
def test_m21_offset_plus_size_wraps(refuses, offset):
    refuses(IN_PART + page(offset, content(0), "pc.ram"), f"page at {offset:#x} is outside")


@pytest.mark.parametrize("stream, words", [
    (IN_PART + page(0, content(0)), "continues a block, but none was named"),
    (IN_PART + zero(0), "continues a block, but none was named"),
    (BEFORE + wire.start(block_list(), page(0, content(0))), "none was named"),
    (IN_PART + page(0, content(0), "gone") + page(0, content(0)), "'gone' is not in the list"),
], ids=["page", "zero", "after-list", "after-failed-name"])
def test_m22_continue_without_a_block(refuses, stream, words):
    refuses(stream, words)


@pytest.mark.parametrize("fill", [1, 0x7f, 0xff])
@pytest.mark.parametrize("block", [None, "pc.ram"], ids=["continued", "named"])
def test_m24_zero_page_with_a_fill_byte(refuses, block, fill):
    refuses(NAMED + zero(PAGE, block, fill), f"zero page at 0x1000 is filled with 0x{fill:02x}")


def test_m25_page_of_a_block_that_is_not_sent(refuses):
    """Blocks are left out of a stream by x-ignore-shared alone, and that is refused before any."""
    shared = wire.configuration(wire.MACHINE, wire.capabilities("x-ignore-shared"))
    refuses(bytes(Stream(configuration=shared)), "x-ignore-shared", opened=False, declared=0)


XBZRLE_BAD = {
    "encoding-0": (wire.xbzrle(0, b"\0\1x", encoding=0), "encoding"),
    "encoding-2": (wire.xbzrle(0, b"\0\1x", encoding=2), "encoding"),
    "length-0": (wire.xbzrle(0, b""), "length|bytes"),
    "length-4097": (wire.xbzrle(0, bytes(4097)), "length|bytes"),
    "length-65535": (wire.xbzrle(0, b"x", length=65535), "length|bytes"),
}


@pytest.mark.parametrize("bad, words", XBZRLE_BAD.values(), ids=XBZRLE_BAD)
def test_m28_xbzrle_header(refuses, bad, words):
    refuses(NAMED + bad + bytes(PAGE), ["xbzrle", words])


DELTAS = {
    "past-the-page": b"\xff\x1f\x02xx",            # skip 4095, two bytes
    "skip-past-the-page": b"\x81\x20\x01x",        # skip 4097
    "run-0": b"\x00\x00",
    "inner-skip-0": b"\x01\x01x\x00\x01y",
    "varint-of-3": b"\x80\x80\x01\x01x",
    "varint-cut": b"\x80",
    "run-missing": b"\x05",
    "literals-cut": b"\x00\x05abc",
    "skip-at-the-end": b"\x00\x01x\x05",
}


@pytest.mark.parametrize("delta", DELTAS.values(), ids=DELTAS)
@pytest.mark.parametrize("block", [None, "pc.ram"], ids=["continued", "named"])
def test_m29_xbzrle_delta(refuses, delta, block):
    refuses(NAMED + wire.xbzrle(0, delta, block), ["byte [0-9]+", "xbzrle|delta"])


def test_m29_xbzrle_without_a_base(refuses):
    refuses(NAMED + wire.xbzrle(PAGE, b"\0\1x"), ["xbzrle|delta", "0x1000|never"])


def test_m29_xbzrle_of_a_zero_page_has_a_base(accepts):
    data = b"\0\0abc" + bytes(PAGE - 5)
    accepts(bytes(Stream(rounds=wire.part(zero(0, "pc.ram"), wire.xbzrle(0, b"\2\3abc")),
                         end=wire.end())),
            ram=wire.memory({("pc.ram", 0): data}))


@pytest.mark.parametrize("bad, words", [
    (wire.compressed(0, b"", "pc.ram"), "length|bytes"),
    (wire.compressed(0, b"", "pc.ram", length=2**32 - 1), "length|bytes"),
    (wire.compressed(0, b"", "pc.ram", length=PAGE + PAGE // 8 + 129), "length|bytes"),
    (wire.compressed(0, b"\x78\x9cgarbage" + bytes(40), "pc.ram"), "compressed|zlib"),
    (wire.compressed(0, b"neither zlib nor zstd", "pc.ram"), "compressed|zlib|magic"),
    (wire.compressed(0, wire.zlib.compress(bytes(PAGE - 1)), "pc.ram"), "compressed|zlib"),
    (wire.compressed(0, wire.zlib.compress(bytes(1 << 20)), "pc.ram"), "compressed|zlib"),
    (wire.compressed(0, wire.zlib.compress(content(0))[:-1], "pc.ram"), "compressed|zlib"),
    (wire.compressed(0, wire.zlib.compress(content(0)) + b"\0", "pc.ram"), "compressed|zlib"),
    (wire.compressed(0, wire.zlib.compress(content(0))[:-4] + b"abcd", "pc.ram"),
     "compressed|zlib"),
    (wire.compressed(0, wire.zstd_frame(bytes(PAGE + 1)), "pc.ram"), "compressed|zstd"),
    (wire.compressed(0, wire.zstd_frame(content(0)[:-1]), "pc.ram"), "compressed|zstd"),
    (wire.compressed(0, wire.zstd_header() + wire.zstd_block(b"x", True, 1, 1 << 17), "pc.ram"),
     "compressed|zstd"),
], ids=["0", "4G", "bound", "garbage", "no-magic", "short", "bomb", "cut", "trailing", "adler",
        "zstd-long", "zstd-short", "zstd-bomb"])
def test_compressed_page(refuses, bad, words):
    """COMPRESS_PAGE of sources up to 9.0: as strict as the rest."""
    refuses(IN_PART + bad + bytes(8192), words)


@pytest.mark.parametrize("flags", [0, CONTINUE, RAW | ZERO, 0x001, wire.EOS | CONTINUE, wire.HOOK,
                                   wire.MEM_SIZE | RAW, 0x400, 0x800, 0xfff])
def test_m23_flags(refuses, flags):
    """A few of them; all 4096 are tried in flags.c."""
    refuses(NAMED + be64(flags) + bytes(64), "flags 0x|rdma|RDMA|block list")


def test_m26_endless_pages_end_at_the_time_limit(receive):
    """A page again and again is what a busy guest looks like: only time tells."""
    receiver = receive("--max-time", SHORT)
    peer = Peer(receiver.uri, NAMED)
    noise = record(ZERO, 3 * PAGE, None, b"\0") * 10000 + page(2 * PAGE, content(2)) * 100

    def flood():
        try:
            while True:
                peer.socket.sendall(noise)
        except OSError:
            pass

    thread = threading.Thread(target=flood)
    thread.start()
    said = wire.answers(peer.hear())
    peer.close()
    thread.join()
    check_refused(receiver, "not done within --max-time", TOTAL)
    assert said[-1] == (wire.SHUT, wire.be32(1)) or said == [(wire.PONG, wire.be32(1))]


@pytest.mark.parametrize("noise", [wire.part() * 1000, wire.ping(7) * 1000, wire.OPEN * 1000,
                                   wire.command(11) * 1000],
                         ids=["empty-sections", "pings", "open", "switchover-start"])
def test_m27_flood_that_brings_nothing(receive, noise):
    receiver = receive()
    peer = Peer(receiver.uri, OPENED)

    def flood():
        try:
            for _ in range(10000):  # 10^7 of them
                peer.socket.sendall(noise)
        except OSError:
            pass

    thread = threading.Thread(target=flood)
    thread.start()
    peer.hear()
    peer.close()
    thread.join()
    check_refused(receiver, "not one page any more", TOTAL)


def test_m27_pings_whose_answers_are_not_read(receive):
    """No queue grows here: the answers stand in the socket, and their deadline ends it."""
    receiver = receive("--timeout", SHORT)
    peer = Peer(receiver.uri, OPENED)
    peer.socket.settimeout(60)
    peer.send(wire.ping(7) * 200000)
    check_refused(receiver, "timed out|deadline|time", TOTAL)
    peer.close()


def test_m27_flush_flood_without_multifd(receive):
    receiver = receive("--max-time", SHORT)
    peer = Peer(receiver.uri, IN_PART)
    try:
        while True:
            peer.socket.sendall(wire.flush() * 10000)
    except OSError:
        pass
    peer.close()
    check_refused(receiver, "not done within|not one page any more", TOTAL)
