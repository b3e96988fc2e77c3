"""ferry inspect over streams that are broken, cut, or not what they seem."""
import json
import os
import re
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "hostile"))
from ferry_program import ferry  # noqa: E402
import wire  # noqa: E402

PAGE = wire.PAGE


def put(tmp_path, name, data):
    path = str(tmp_path / name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def inspect(*words):
    done = ferry("inspect", "--json", *words)
    said = json.loads(done.stdout)
    assert done.returncode == (0 if said["status"] == "completed" else 1)
    if done.returncode:
        assert done.stderr == f"ferry inspect: {said['error']}\n"
    return said


def refused(status, words, *files):
    """The object; its error has all @words."""
    said = inspect(*files)
    assert said["status"] == status, said
    for word in words if isinstance(words, tuple) else (words,):
        assert word in said["error"]
    return said


SMALL = bytes(wire.Stream(
    rounds=wire.part(wire.page(0, wire.content(0), "pc.ram"), wire.zero(PAGE)) +
    wire.part(wire.xbzrle(0, b"\x08\x02\x4e\x8e"),
              wire.compressed(PAGE, wire.zlib.compress(wire.content(1)))),
    end=wire.end()))


def test_the_small_stream_is_good(tmp_path):
    said = inspect("--hash", put(tmp_path, "small", SMALL))
    page = bytearray(wire.content(0))
    page[8:10] = b"\x4e\x8e"
    ram = wire.memory({("pc.ram", 0): bytes(page), ("pc.ram", PAGE): wire.content(1)})
    assert said["status"] == "completed"
    assert [b["sha256"] for b in said["blocks"]] == \
           [wire_hash(data) for data in ram.values()]
    assert said["blocks"][0]["pages"] == {"normal": 1, "zero": 1, "xbzrle": 1, "compressed": 1}
    assert said["records"]["xbzrle_bytes"] == 4
    assert said["commands"] == [
        {"name": "open-return-path", "offset": 26},
        {"name": "ping", "offset": 31, "value": 1}]


def wire_hash(data):
    import hashlib
    return hashlib.sha256(data).hexdigest()


CUTS = sorted({len(SMALL) * i // 50 for i in range(50)} |
              {len(SMALL) - n for n in (1, 2, 100)})


@pytest.mark.parametrize("at", CUTS)
def test_a_cut_stream_is_truncated_and_says_where(at, tmp_path):
    said = refused("truncated", (f"byte {at}: ", "small", "ended inside"),
                   put(tmp_path, "small", SMALL[:at]))
    assert said["error_channel"] == "main" and said["bytes"] == at
    assert ("configuration" in said) == (at > 26)


def test_what_was_understood_is_still_printed(tmp_path):
    path = put(tmp_path, "cut", SMALL[:4400])
    done = ferry("inspect", path)
    assert done.returncode == 1
    assert f"{path}: migration stream, 4400 bytes, truncated" in done.stdout
    assert "machine        pc-i440fx-7.2" in done.stdout and "pc.bios" in done.stdout
    assert done.stderr.startswith(f"ferry inspect: {path}: byte 4400: ")
    said = inspect("--hash", path)
    assert [b["name"] for b in said["blocks"]] == ["pc.ram", "pc.bios"]
    assert "sha256" not in said["blocks"][0]  # half of a guest has no hash


def flipped(at, bit=0x80):
    return SMALL[:at] + bytes([SMALL[at] ^ bit]) + SMALL[at + 1:]


START = SMALL.index(b"\x03ram") - 5


@pytest.mark.parametrize("at, status, words", [
    (0, "malformed", "not a migration stream"),
    (7, "unsupported", "stream version 131"),
    (8, "malformed", "configuration is missing"),
    (START, "malformed", "unknown section type 0x81"),
    (START + 6, "malformed", "is not text"),
    (SMALL.index(b"pc.ram") + 8, "malformed", "block 'pc.ram'"),
    (SMALL.index(b"\x7e\0\0\0\x02"), "malformed", "footer expected"),
    (SMALL.index(b"\x06pc.ram" + wire.content(0)[:8]) - 1, "malformed", "flags 0x88"),
    (SMALL.index(b"timer"), "malformed", "byte "),
    (SMALL.index(b'{"page_size"') + 1, "malformed", "byte "),
], ids=["magic", "version", "configuration", "section", "idstr", "length", "footer", "flags",
        "device", "description"])
def test_a_flipped_bit_is_found(at, status, words, tmp_path):
    said = inspect(put(tmp_path, "flipped", flipped(at)))
    assert said["status"] in (status, "truncated"), said
    assert words in said["error"] or said["status"] == "truncated"
    assert re.search(r"byte \d+: ", said["error"])


def test_a_flip_in_a_page_is_no_error_but_another_hash(tmp_path):
    at = SMALL.index(wire.content(0)) + 100
    good, bad = (inspect("--hash", put(tmp_path, name, data))
                 for name, data in (("good", SMALL), ("bad", flipped(at))))
    assert bad["status"] == "completed"
    assert [b["sha256"] for b in good["blocks"]][1:] == [b["sha256"] for b in bad["blocks"]][1:]
    assert good["blocks"][0]["sha256"] != bad["blocks"][0]["sha256"]


@pytest.mark.parametrize("record, words", [
    (wire.xbzrle(0, b"\x00\x01\xff", "pc.bios"), "never sent"),
    (wire.xbzrle(0, b"\xff\x7f\x01\xff"), "byte "),
    (wire.compressed(0, wire.zlib.compress(bytes(PAGE - 1))), "page at 0x0"),
    (wire.compressed(0, b"no zlib at all"), "page at 0x0"),
], ids=["no-base", "past-the-page", "short-page", "no-zlib"])
def test_pages_that_cannot_be_decoded(record, words, tmp_path):
    stream = wire.Stream(rounds=wire.part(wire.page(0, wire.content(0), "pc.ram"), record))
    refused("malformed", (words, "byte "), "--hash", put(tmp_path, "bad", bytes(stream)))


# Multifd.

def old_style(ch0, ch1=b"", **more):
    """A stream with a barrier at the end of each of its three sections, and its channels."""
    stream = wire.Stream(rounds=wire.part(), end=wire.end(), **more)
    return bytes(stream), wire.hello(0) + ch0, wire.hello(1) + ch1


def put_set(tmp_path, main, *channels):
    return [put(tmp_path, "main", main)] + [put(tmp_path, f"ch{i}", data)
                                            for i, data in enumerate(channels)]


def page_packet(*offsets, **more):
    return wire.packet(offsets, payload=b"".join(wire.content(o // PAGE) for o in offsets), **more)


def test_both_styles_of_barriers_and_zero_pages(tmp_path):
    sync = wire.sync()
    ram = wire.memory({("pc.ram", 2 * PAGE): wire.content(2)})
    ch0 = page_packet(0, 2 * PAGE) + sync + sync + wire.packet(zeros=[0]) + sync
    new = wire.Stream(start=wire.start(wire.block_list(), wire.flush()),
                      rounds=wire.part(wire.flush()) + wire.part(), end=wire.end(wire.flush()))
    for style, main in (("per-section", old_style(b"")[0]), ("per-round", bytes(new))):
        files = put_set(tmp_path, main, wire.hello(0) + ch0, wire.hello(1) + 3 * sync)
        said = inspect("--hash", *files)
        assert said["status"] == "completed", said
        assert said["multifd"]["sync_mode"] == style and said["multifd"]["barriers"] == 3
        assert [b["sha256"] for b in said["blocks"]] == [wire_hash(d) for d in ram.values()]


SYNC = wire.sync()


@pytest.mark.parametrize("ch0, ch1, status, words", [
    (2 * SYNC, 3 * SYNC, "truncated", ("channel 0", "SYNC for barrier 3", f"byte {64 + 2 * 1344}")),
    (3 * SYNC, 3 * SYNC + page_packet(0), "malformed", ("channel 1", "behind the last barrier")),
    (4 * SYNC, 3 * SYNC, "malformed", ("channel 0", "a SYNC behind the last barrier")),
    (page_packet(0, block="nothing") + 3 * SYNC, 3 * SYNC, "malformed",
     ("channel 0", "byte 64: ", "'nothing' is not in the list")),
    (3 * SYNC, SYNC + page_packet(64 * PAGE), "malformed",
     ("channel 1", f"byte {64 + 1344}: ", "page at 0x40000 is outside")),
    (3 * SYNC, SYNC + page_packet(0, magic=1), "malformed", ("channel 1", f"byte {64 + 1344}: ")),
    (3 * SYNC, SYNC[:1000], "truncated", ("channel 1", "byte 1064: ", "a packet's header")),
    (page_packet(0)[:3000] , 3 * SYNC, "truncated", ("channel 0", "byte 3064: ", "pages")),
    (wire.packet([0], payload=b"x" * 99, flags=wire.ZLIB) + 3 * SYNC, 3 * SYNC, "malformed",
     ("channel 0", "byte 64: ", "payload")),
    (page_packet(0) + wire.packet([0], payload=wire.ZlibStream()(bytes(PAGE)), flags=wire.ZLIB),
     3 * SYNC, "malformed", ("channel 0", "method is zlib, before it was none")),
    (wire.packet([0], payload=b"x" * 99, flags=8) + 3 * SYNC, 3 * SYNC, "unsupported",
     ("channel 0", "qpl")),
], ids=["sync-missing", "pages-behind", "sync-behind", "unknown-block", "outside", "magic",
        "cut-header", "cut-payload", "no-zlib", "two-methods", "qpl"])
def test_a_broken_channel_is_named(ch0, ch1, status, words, tmp_path):
    main, *channels = put_set(tmp_path, *old_style(ch0, ch1))
    said = refused(status, words, main, *channels)
    number = words[0].split()[1]
    assert said["error_channel"] == number and channels[int(number)] in said["error"]
    assert said["configuration"]["machine"] == "pc-i440fx-7.2"


@pytest.mark.parametrize("numbers, words", [
    ((0, 2), "channel 1 is missing"), ((1,), "channel 0 is missing"),
    ((0, 1, 1), "was given already")], ids=["hole", "no-first", "twice"])
def test_channels_must_be_a_set(numbers, words, tmp_path):
    files = [put(tmp_path, "main", old_style(b"")[0])]
    files += [put(tmp_path, f"file{i}", wire.hello(n) + 3 * SYNC) for i, n in enumerate(numbers)]
    refused("malformed", words, *files)


def test_channels_of_different_guests(tmp_path):
    main, ch0, _ = old_style(3 * SYNC)
    refused("malformed", ("ch1", "uuid"),
            *put_set(tmp_path, main, ch0, wire.hello(1, owner=b"u" * 16) + 3 * SYNC))


def test_a_cut_hello(tmp_path):
    for n in (4, 20, 63):
        refused("truncated", ("ch0", f"byte {n}: ", "its hello"),
                put(tmp_path, "ch0", wire.hello(0)[:n]))


def test_two_main_streams(tmp_path):
    paths = [put(tmp_path, name, SMALL) for name in ("one", "two")]
    refused("malformed", ("two: not a multifd channel", "one is the main stream"), *paths)


# Files.

def test_what_is_no_stream(tmp_path):
    refused("malformed", ("text: byte 0: ", "not a migration stream"),
            put(tmp_path, "text", b"Dear reader, this is a letter."))
    refused("truncated", ("empty: byte 0: ",), put(tmp_path, "empty", b""))
    said = refused("failed", ("nowhere: No such file",), str(tmp_path / "nowhere"))
    assert said["error_channel"] == "-"
    refused("failed", ("Is a directory",), str(tmp_path))


def test_a_cut_or_broken_zst(tmp_path):
    packed = wire.zstd_frame(SMALL)
    assert inspect(put(tmp_path, "good.zst", packed))["status"] == "completed"
    refused("truncated", ("ended inside its zstd frame",),
            put(tmp_path, "cut.zst", packed[:-100]))
    refused("malformed", ("bad.zst: byte 0: zstd: ",),
            put(tmp_path, "bad.zst", packed[:5] + b"\xff" * 50))


def test_a_stream_in_the_middle_of_a_file(tmp_path):
    path = put(tmp_path, "file", b"\0" * 5000 + SMALL)
    assert inspect("--offset", "5000", path)["status"] == "completed"
    refused("malformed", ("not a migration stream",), path)
    refused("truncated", ("--offset",), "--offset", "1M", path)
    cut = put(tmp_path, "cut", b"\0" * 5000 + SMALL[:1000])
    refused("truncated", ("byte 1000: ",), "--offset", "5000", cut)
    snapshot, ram = mapped(before=5000)
    said = inspect("--hash", "--offset", "5000", put(tmp_path, "snapshot", snapshot))
    assert said["status"] == "completed" and said["blocks"][0]["sha256"] == wire_hash(ram)


def test_more_ram_than_allowed(tmp_path):
    path = put(tmp_path, "small", SMALL)
    assert inspect("--max-ram", "320K", path)["status"] == "completed"
    refused("limit", ("block 'pc.bios'", "--max-ram 327679"), "--max-ram", "327679", path)
    vast = bytes(wire.Stream(start=wire.start(wire.block_list([("pc.ram", 1 << 60)])),
                             rounds=wire.part(), end=wire.end()))
    assert inspect(put(tmp_path, "vast", vast))["ram_bytes"] == 1 << 60
    refused("limit", ("block 'pc.ram'", "--max-ram"), "--hash", put(tmp_path, "vast", vast))


def arm(subsections=(), page_size=1024):
    return bytes(wire.Stream(
        configuration=wire.configuration("versatilepb", *subsections),
        start=wire.start(wire.block_list([("pc.ram", 8192)])),
        rounds=wire.part(wire.page(1024, b"a" * 1024, "pc.ram"), wire.page(2048, b"b" * 1024)),
        end=wire.end(), eof=wire.eof(wire.describe(page_size=page_size))))


def test_pages_of_another_size(tmp_path):
    path = put(tmp_path, "arm", arm())
    ram = wire_hash(bytes(1024) + b"a" * 1024 + b"b" * 1024 + bytes(5120))
    said = inspect("--hash", "--page-bits", "10", path)
    assert said["page_size"] == 1024 and said["blocks"][0]["sha256"] == ram
    lost = inspect(path)
    assert lost["status"] == "malformed" and "--page-bits" in lost["notes"][0]
    told = inspect("--hash", put(tmp_path, "told", arm([wire.page_bits(10)])))
    assert told["configuration"]["page_bits"] == 10 and told["blocks"][0]["sha256"] == ram
    [note] = inspect("--page-bits", "10", put(tmp_path, "odd", arm(page_size=4096)))["notes"]
    assert "read as 1024 bytes" in note and "says 4096" in note


def test_a_stream_without_description(tmp_path):
    path = put(tmp_path, "old", bytes(wire.Stream(eof=b"\0")))
    refused("truncated", ("description",), path)
    said = inspect("--no-description", path)
    assert said["status"] == "completed" and said["run_state"] == "running"
    assert "no description" in said["notes"][0]


@pytest.mark.parametrize("words", [
    [], ["--page-bits", "9", "x"], ["--page-bits", "17", "x"], ["--max-ram", "much", "x"],
    ["--offset", "-1", "x"], ["--hsah", "x"]], ids=" ".join)
def test_a_mistake_in_the_words(words):
    done = ferry("inspect", *words)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith("ferry inspect: ")


# Snapshots.

def mapped(bits=b"\x05" + bytes(7), pages=4096 * 8, before=0):
    """One block of eight pages, of which 0 and 2 are present; its offsets are the file's."""
    front = (bytes(before) + wire.header() + wire.configuration(wire.MACHINE, wire.capabilities("mapped-ram")) +
             wire.long_header(wire.START, wire.RAM_ID, "ram", 0, 4) +
             wire.be64(pages | wire.MEM_SIZE) + wire.name("pc.ram") + wire.be64(pages))
    at = len(front) + 28
    place = (at + 8 + 4095) // 4096 * 4096
    front += wire.be32(1) + wire.be64(4096) + wire.be64(at) + wire.be64(place) + bits
    ram = wire.content(0) + bytes(PAGE) + wire.content(2) + bytes(5 * PAGE)
    return (front.ljust(place, b"\0") + ram + wire.eos() + wire.footer() + wire.part() +
            wire.end() + wire.devices() + wire.eof()), ram


def test_a_small_snapshot(tmp_path):
    data, ram = mapped()
    path = put(tmp_path, "snapshot", data)
    said = inspect("--hash", path)
    assert said["kind"] == "mapped-ram" and said["configuration"]["capabilities"] == ["mapped-ram"]
    assert said["blocks"][0]["sha256"] == wire_hash(ram)
    assert said["blocks"][0]["pages"] == {"mapped": 2}
    place = said["blocks"][0]["pages_offset"]
    lines = [json.loads(line)
             for line in ferry("inspect", "--json", "--pages", path).stdout.splitlines()]
    assert [(p["offset"], p["page_offset"]) for p in lines[:-1]] == \
           [(place, 0), (place + 2 * PAGE, 2 * PAGE)]


def test_broken_snapshots(tmp_path):
    beyond, _ = mapped(bits=b"\x05\x01" + bytes(6))
    refused("malformed", ("block 'pc.ram'", "page 8, the block has 8"),
            put(tmp_path, "beyond", beyond))
    whole, _ = mapped()
    for option in ([], ["--hash"]):
        for at in (60, 100, 150, 4096, 4096 + 100, 4096 + 3 * PAGE, len(whole) - 1):
            said = refused("truncated", (),  *option, put(tmp_path, "cut", whole[:at]))
            assert re.search(r"byte \d+: ", said["error"])


def test_people_are_spared_many_commands(tmp_path):
    pings = wire.OPEN + b"".join(map(wire.ping, range(30)))
    path = put(tmp_path, "talkative", bytes(wire.Stream(commands=pings)))
    assert len(inspect(path)["commands"]) == 31
    lines = ferry("inspect", path).stdout.splitlines()
    assert sum(line.startswith("command ") for line in lines) == 20
    assert "               and 11 more commands" in lines


@pytest.mark.parametrize("size", ['{}', '"4096"', "-1", "null", "[1]"])
def test_a_description_with_an_odd_page_size(size, tmp_path):
    text = wire.describe().replace(b'"page_size": 4096', f'"page_size": {size}'.encode())
    said = inspect(put(tmp_path, "odd", bytes(wire.Stream(eof=wire.eof(text)))))
    assert said["status"] in ("completed", "malformed")
    assert "page_size" not in said.get("description", {})


def test_a_state_that_is_no_name_is_not_printed(tmp_path):
    state = ("globalstate", wire.be32(9) + b"\x1b[2Jrun\n\0".ljust(32, b"\0") + bytes(68))
    sections = (*wire.DEVICES, state)
    path = put(tmp_path, "state", bytes(wire.Stream(devices=wire.devices(sections),
                                                    eof=wire.eof(wire.describe(sections)))))
    said = inspect(path)
    assert "run_state" not in said and "globalstate" in said["notes"][0]
    assert "\x1b" not in ferry("inspect", path).stdout


def test_a_file_name_that_is_not_text(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"\xff.mig")
    with open(path, "wb") as f:
        f.write(SMALL)
    assert inspect(os.fsdecode(path))["file"].endswith("\ufffd.mig")
