"""Multifd packets: their headers, their payloads, and the barriers between them."""
import os
import threading
import zlib

import pytest

import wire
from receiver import SHORT, Peer, check_received, check_refused, declared_bytes
from wire import (PAGE, PAGES_MAX, SYNC, ZLIB, ZSTD, Stream, ZlibStream, ZstdStream, content,
                  device_state, hello, packet, sync, zstd_block, zstd_blocks, zstd_frame,
                  zstd_header)

START_PER_ROUND = wire.start(wire.block_list(), wire.flush())
MAIN = bytes(Stream(start=START_PER_ROUND, rounds=wire.part(wire.flush()),
                    end=wire.end(wire.flush())))
UP_TO_START = Stream(start=START_PER_ROUND).before("rounds")


class Set:
    """Main and its channels, connected."""

    def __init__(self, receive, main, *channels, options=(), ends=False):
        self.ends = ends
        self.receiver = receive("--channels", str(len(channels)), *options)
        self.main = Peer(self.receiver.uri, main)
        self.channels = [Peer(self.receiver.uri, hello(i)) for i in range(len(channels))]
        for channel, data in zip(self.channels, channels):
            threading.Thread(target=self.send, args=(channel, data), daemon=True).start()

    def send(self, channel, data):
        channel.send(data)
        if self.ends:
            channel.end()

    def close(self):
        for peer in (self.main, *self.channels):
            peer.close()


@pytest.fixture
def refuses_packet(receive):
    """refuses_packet(BYTES, WORDS): on channel 1, behind the first barrier, while both channels
    stay open and main waits."""

    def check(data, words, *options, method="none", ends=False):
        peers = Set(receive, MAIN, sync() * 3, sync() + data, options=(
            "--multifd-compression", method, *options))
        if ends:
            peers.channels[1].end()
        said = wire.answers(peers.main.hear())
        peers.close()
        words = [words] if isinstance(words, str) else words
        check_refused(peers.receiver, ["channel 1", *words], declared_bytes())
        assert said[-1] == (wire.SHUT, wire.be32(1)), said

    return check


@pytest.fixture
def accepts_packets(receive):
    """accepts_packets(MAIN, CHANNELS, RAM)."""

    def check(main, channels, pages, *options):
        peers = Set(receive, main, *channels, options=options, ends=True)
        said = wire.answers(peers.main.hear())
        peers.close()
        check_received(peers.receiver, wire.memory(pages))
        assert said[-1] == (wire.SHUT, wire.be32(0)), said

    return check


def one(offset=0, **lies):
    """A packet with one page."""
    return packet([offset], payload=content(0), **lies)


HEADERS = {
    "magic": (one(magic=0x5145564d), "magic"),
    "magic-0": (one(magic=0), "magic"),
    "version-0": (one(version=0), "version"),
    "version-2": (one(version=2), "version"),
    "main-stream": (wire.GOOD[:2000], "magic"),
}


@pytest.mark.parametrize("bad, words", HEADERS.values(), ids=HEADERS)
def test_m34_magic_and_version_of_a_packet(refuses_packet, bad, words):
    refuses_packet(bad, words)


ALLOC = {"129": 129, "4G": 2**32 - 1, "0-with-pages": 0}


@pytest.mark.parametrize("alloc", ALLOC.values(), ids=ALLOC)
def test_m35_pages_alloc(refuses_packet, alloc):
    refuses_packet(one(alloc=alloc), "pages|alloc")


@pytest.mark.parametrize("alloc", [0, 1, PAGES_MAX])
def test_m35_pages_alloc_of_a_sync_packet(accepts_packets, alloc):
    accepts_packets(MAIN, [packet(flags=SYNC, alloc=alloc) * 3] * 2, {("pc.ram", 3 * PAGE): b""})


COUNTS = {
    "normal-over-alloc": {"alloc": 1, "normal": 2}, "normal-129": {"normal": 129},
    "normal-4G": {"normal": 2**32 - 1}, "zero-129": {"zero": 129},
    "sum-over-alloc": {"alloc": 1, "zero": 1}, "sum-wraps": {"normal": 2**31, "zero": 2**31 + 1},
    "sum-wraps-to-alloc": {"normal": 2**32 - 1, "zero": 2},
}


@pytest.mark.parametrize("lies", COUNTS.values(), ids=COUNTS)
def test_m36_page_counts(refuses_packet, lies):
    refuses_packet(one(**lies), "pages")


OFFSETS = {
    "outside": ([0, 64 * PAGE], "0x40000|outside"), "far-outside": ([0, 2**63], "outside|0x8000"),
    "wraps": ([0, 2**64 - PAGE], "outside|0xffff"), "unaligned": ([0, PAGE + 1], "0x1001|whole"),
    "duplicate": ([0, 0], "twice|differ|duplicate"),
}


@pytest.mark.parametrize("offsets, words", OFFSETS.values(), ids=OFFSETS)
def test_m37_offsets(refuses_packet, offsets, words):
    refuses_packet(packet(offsets, payload=content(0) + content(1)), words)


def test_m37_zero_page_offsets(refuses_packet):
    refuses_packet(packet([0], [0], content(0)), "twice|differ|duplicate")


def test_m37_refused_before_the_first_byte_is_written(receive, directory):
    """The good page in front of the bad one has not reached memory: its file still has holes."""
    ram = os.path.join(directory, "ram")
    os.mkdir(ram)
    peers = Set(receive, MAIN, sync(), sync() + packet([0, 64 * PAGE],
                                                       payload=content(0) + content(1)),
                options=("--ram-dir", ram))
    peers.main.hear()
    peers.close()
    check_refused(peers.receiver, "channel 1", declared_bytes())
    for file in os.listdir(ram):
        with open(os.path.join(ram, file), "rb") as f:
            assert not f.read().strip(b"\0")


NAMES = {
    "not-terminated": (b"x" * 256, "name"), "unknown": ("vga", "'vga'"), "empty": (b"", "name|''"),
    "other-case": ("PC.RAM", "'PC.RAM'"), "prefix": ("pc.ra", "'pc.ra'"),
    "longer": ("pc.ram2", "'pc.ram2'"), "not-utf8": (b"\xff", "name"),
}


@pytest.mark.parametrize("name, words", NAMES.values(), ids=NAMES)
def test_m38_block_name(refuses_packet, name, words):
    refuses_packet(one(block=name), words)


SIZES = {"one-short": PAGE - 1, "one-more": PAGE + 1, "two-pages": 2 * PAGE, "4G": 2**32 - 1}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_m39_payload_size_without_compression(refuses_packet, size):
    refuses_packet(one(size=size), "bytes|payload|size")


@pytest.mark.parametrize("size", [0, 2 * PAGES_MAX * PAGE + 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("method, flag", [("zlib", ZLIB), ("zstd", ZSTD)])
def test_m39_payload_size_with_compression(refuses_packet, method, flag, size):
    refuses_packet(one(flags=flag, size=size), "bytes|payload|size", method=method)


def test_m39_payload_size_0_is_what_some_sources_write(accepts_packets):
    accepts_packets(MAIN, [sync() + one(size=0) + sync() * 2, sync() * 3],
                    {("pc.ram", 0): content(0)})


def test_m39_old_payload_size_without_pages(accepts_packets):
    """QEMU 7.2 leaves the size, block and offsets of the packet before."""
    stale = packet(flags=SYNC, size=4096, alloc=PAGES_MAX, block="pc.ram")
    accepts_packets(MAIN, [sync() + one() + stale + sync(), stale * 3], {("pc.ram", 0): content(0)})


FLAGS = {"zlib": ZLIB, "zstd": ZSTD, "qpl": 0x08, "uadk": 0x10, "qatzip": 0x20, "two": ZLIB | ZSTD,
         "unknown": 0x80, "high": 1 << 31, "sync-unknown": SYNC | 0x100}


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_m40_flags(refuses_packet, flags):
    refuses_packet(one(flags=flags), "flag|compress|method|zlib|zstd|qpl|uadk|qatzip")


def test_m40_other_method_than_agreed(refuses_packet):
    refuses_packet(packet([0], payload=content(0)), "none", method="zlib")


def zlib_packet(payload, pages=1):
    return packet([i * PAGE for i in range(pages)], payload=payload, flags=ZLIB)


def zlib_bad():
    data = content(0)
    ended = zlib.compress(data)
    adler = ended[:-4] + b"abcd"
    dictionary = zlib.compressobj(zdict=b"page of this guest")
    stream = ZlibStream()
    return {
        "garbage": zlib_packet(b"\x78\x01" + b"\xff" * 50),
        "no-header": zlib_packet(ZlibStream()(data)[2:]),
        "truncated": zlib_packet(ZlibStream()(data)[:-10]),
        "trailing": zlib_packet(ZlibStream()(data) + b"more"),
        "stream-end": zlib_packet(ended),
        "adler": zlib_packet(adler),
        "dictionary": zlib_packet(dictionary.compress(data) + dictionary.flush(zlib.Z_SYNC_FLUSH)),
        "new-stream": zlib_packet(stream(data)) + zlib_packet(ZlibStream()(data)),
    }


@pytest.mark.parametrize("what", zlib_bad())
def test_m41_zlib_stream(refuses_packet, what):
    refuses_packet(zlib_bad()[what], "zlib|inflate|compressed", method="zlib")


def frame(data):
    return packet([0], payload=data, flags=ZSTD)


BOMBS = {
    "zlib-longer": ("zlib", zlib_packet(ZlibStream()(bytes(PAGE + 1)))),
    "zlib-much-longer": ("zlib", zlib_packet(ZlibStream(9)(bytes(8 << 20)))),
    "zlib-shorter": ("zlib", zlib_packet(ZlibStream()(bytes(PAGE - 1)))),
    "zlib-empty": ("zlib", zlib_packet(ZlibStream()(b""))),
    "zstd-longer": ("zstd", frame(ZstdStream()(bytes(PAGE + 1)))),
    "zstd-much-longer": ("zstd", frame(zstd_header() +
                                       zstd_block(b"x", False, 1, 128 << 10) * 2000)),
    "zstd-shorter": ("zstd", frame(ZstdStream()(bytes(PAGE - 1)))),
    "zstd-empty": ("zstd", frame(zstd_header())),
}


@pytest.mark.parametrize("method, bad", BOMBS.values(), ids=BOMBS)
def test_m42_output_that_does_not_fit_its_pages(refuses_packet, method, bad):
    refuses_packet(bad, "page|bytes|longer|shorter|more|less", method=method)


def test_m42_output_never_leaves_the_pages(receive, directory):
    """The pages beside the packet's keep what they had."""
    ram = os.path.join(directory, "ram")
    os.mkdir(ram)
    bomb = packet([PAGE, 3 * PAGE], payload=ZlibStream()(b"x" * (4 * PAGE)), flags=ZLIB)
    peers = Set(receive, MAIN, sync(), sync() + bomb, options=(
        "--multifd-compression", "zlib", "--ram-dir", ram))
    peers.main.hear()
    peers.close()
    check_refused(peers.receiver, "channel 1", declared_bytes())
    for file in os.listdir(ram):
        with open(os.path.join(ram, file), "rb") as f:
            data = f.read()
        assert not data.replace(data[PAGE:2 * PAGE], b"").replace(b"x", b"").strip(b"\0")


def zstd_bad():
    data, head = content(0), zstd_header()
    return {
        "garbage": frame(b"\xff" * 50),
        "magic": frame(b"\x27\xb5\x2f\xfd" + zstd_frame(data)[4:]),
        "skippable": frame(b"\x50\x2a\x4d\x18" + (8).to_bytes(4, "little") + b"8 bytes." +
                           zstd_frame(data)),
        "skippable-4G": frame(b"\x50\x2a\x4d\x18" + b"\xff\xff\xff\xff" + b"x" * 100),
        "window-2G": frame(zstd_header(window_log=31) + zstd_blocks(data, last=False)),
        "window-most": frame(zstd_header(window_log=41) + zstd_blocks(data, last=False)),
        "reserved-block": frame(head + zstd_block(data, False, 3)),
        "compressed-garbage": frame(head + zstd_block(data, False, 2)),
        "truncated-block": frame(head + zstd_block(data[:-100], False, 0, PAGE)),
        "truncated-header": frame(head[:5]),
        "second-frame": frame(zstd_frame(data) + zstd_frame(b"one more")),
        "trailing": frame(zstd_frame(data) + b"\0\0\0"),
        "checksum": frame(zstd_header(checksum=True) + zstd_blocks(data) + b"abcd"),
        "dictionary": frame(zstd_header(dictionary=77) + zstd_blocks(data, last=False)),
        "content-size": frame(zstd_header(content_size=1 << 40) + zstd_blocks(data)),
    }


@pytest.mark.parametrize("what", zstd_bad())
def test_m43_zstd_stream(refuses_packet, what):
    refuses_packet(zstd_bad()[what], "zstd|compressed", method="zstd")


@pytest.mark.parametrize("method, make, flag", [("zlib", ZlibStream, ZLIB),
                                                ("zstd", ZstdStream, ZSTD)])
def test_good_compressed_channels(accepts_packets, method, make, flag):
    """What the refusals above differ from."""
    channels, pages = [], {}
    for i in range(2):
        stream = make()
        first, second = content(i), content(i + 10) * 2
        channels.append(sync() +
                        packet([i * PAGE], payload=stream(first), flags=flag) + sync() +
                        packet([(10 + 2 * i) * PAGE, (11 + 2 * i) * PAGE], [40 * PAGE],
                               payload=stream(second), flags=flag, block="pc.ram") + sync())
        pages.update({("pc.ram", i * PAGE): first, ("pc.ram", (10 + 2 * i) * PAGE): second})
    # The zero page is the same on both: harmless, it was never anything else.
    accepts_packets(MAIN, channels, pages, "--multifd-compression", method)


@pytest.mark.parametrize("main, channels, words", [
    (MAIN, (sync() * 3, sync()), "channel 1"),
    (MAIN, (sync(), sync() * 3), "channel 0"),
    (MAIN, (sync() * 3, b""), "channel 1"),
    (MAIN, (one(), one(PAGE)), "channel"),
], ids=["one-is-short", "the-other", "one-has-none", "flush-without-sync"])
def test_m44_barrier_that_never_completes(receive, main, channels, words):
    peers = Set(receive, main, *channels, options=("--timeout", SHORT))
    peers.main.hear()
    check_refused(peers.receiver, ["barrier|SYNC|sync", words], declared_bytes())
    peers.close()


def test_m44_sync_without_flush(receive):
    """Channels stand at a barrier that main never reaches: their pages are not lost in silence."""
    main = bytes(Stream(start=START_PER_ROUND, rounds=wire.part(), end=wire.end()))
    data = sync() * 2 + one() + sync()
    peers = Set(receive, main, data, data, options=("--timeout", SHORT))
    peers.main.hear()
    check_refused(peers.receiver, "channel|barrier|SYNC|sync", declared_bytes())
    peers.close()


@pytest.mark.parametrize("numbers", [(5, 4, 3), (7, 7, 7), (0, 1 << 40, 2**64 - 1)],
                         ids=["back", "repeated", "gaps"])
def test_m45_packet_numbers_are_nobodys_business(accepts_packets, numbers):
    packets = b"".join(packet([i * PAGE], payload=content(i), number=n)
                       for i, n in enumerate(numbers))
    accepts_packets(MAIN, [sync() + packets + sync() * 2, sync() * 3],
                    {("pc.ram", i * PAGE): content(i) for i in range(3)})


def test_m46_barrier_decides_between_two_channels(accepts_packets):
    """The same page on the one in this round, on the other in the next."""
    rounds = wire.part(wire.flush()) + wire.part(wire.flush())
    main = bytes(Stream(start=START_PER_ROUND, rounds=rounds, end=wire.end(wire.flush())))
    pages = [packet([i * PAGE for i in range(60)],
                    payload=b"".join(content(100 * n + i) for i in range(60))) for n in range(3)]
    accepts_packets(main, [sync() + pages[0] + sync() * 2 + pages[2] + sync(),
                           sync() * 2 + pages[1] + sync() * 2],
                    {("pc.ram", i * PAGE): content(200 + i) for i in range(60)})


def test_m46_barrier_decides_between_a_channel_and_main(accepts_packets):
    rounds = (wire.part(wire.page(0, content(1), "pc.ram"), wire.flush()) +
              wire.part(wire.flush()) + wire.part(wire.zero(0, "pc.ram"), wire.flush()))
    main = bytes(Stream(start=START_PER_ROUND, rounds=rounds, end=wire.end(wire.flush())))
    accepts_packets(main, [sync() * 2 + one() + sync() * 3, sync() * 5], {("pc.ram", 0): b""})


def test_m46_zero_page_over_content(accepts_packets):
    """A page that was something is zero again; one that never was stays untouched."""
    accepts_packets(MAIN, [sync() + packet([0, PAGE], payload=content(0) + content(1)) +
                           sync() * 2,
                           sync() * 2 + packet(zeros=[0, 9 * PAGE]) + sync()],
                    {("pc.ram", PAGE): content(1)})


DEVICE_STATES = {
    "good": device_state(), "size-0": device_state(payload=b""), "4G": device_state(size=2**32 - 1),
    "not-terminated": device_state(idstr=b"x" * 256), "with-sync": device_state(flags=0x41),
}


@pytest.mark.parametrize("data", DEVICE_STATES.values(), ids=DEVICE_STATES)
def test_m47_device_state_packet(refuses_packet, data):
    refuses_packet(data + bytes(2000), "device state")


@pytest.mark.parametrize("length", [1, 63, 320, 1343, 1344, 1344 + PAGE - 1])
def test_packet_cut(refuses_packet, length):
    refuses_packet(one()[:length], "closed|ended|cut|inside", ends=True)


def test_channel_that_says_nothing_after_hello(receive):
    peers = Set(receive, MAIN, sync() * 3, b"", options=("--timeout", SHORT))
    peers.main.hear()
    check_refused(peers.receiver, "channel 1", declared_bytes())
    peers.close()


def test_packet_before_the_block_list_waits(accepts_packets):
    """Channels may be ahead of main."""
    accepts_packets(MAIN, [sync() + one() + sync() * 2, sync() * 3], {("pc.ram", 0): content(0)})
