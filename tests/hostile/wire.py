"""QEMU's migration stream, byte by byte, as a source writes it: right unless a test asks otherwise.

Every function returns bytes, so a test builds a lie out of the pieces of a good stream.
"""
import json
import struct
import zlib

PAGE = 4096
PAGES_MAX = (512 << 10) // PAGE  # of one multifd packet

EOF, START, PART, END, FULL, SUBSECTION, DESCRIPTION, CONFIGURATION, COMMAND = range(9)
FOOTER = 0x7e

ZERO, MEM_SIZE, RAW, EOS = 0x002, 0x004, 0x008, 0x010
CONTINUE, XBZRLE, HOOK, COMPRESSED, FLUSH = 0x020, 0x040, 0x080, 0x100, 0x200

SYNC, ZLIB, ZSTD, DEVICE_STATE = 0x01, 0x02, 0x04, 0x40

MACHINE = "pc-i440fx-7.2"
BLOCKS = (("pc.ram", 64 * PAGE), ("pc.bios", 16 * PAGE))
RAM_ID = 2


def be16(n):
    return struct.pack(">H", n)


def be32(n):
    return struct.pack(">I", n)


def be64(n):
    return struct.pack(">Q", n)


def text(value):
    return value if isinstance(value, bytes) else value.encode()


def name(value):
    value = text(value)
    return bytes([len(value)]) + value


# The skeleton.

def header(version=3, magic=b"QEVM"):
    return magic + be32(version)


def configuration(machine=MACHINE, *subsections, length=None):
    machine = text(machine)
    return (bytes([CONFIGURATION]) + be32(len(machine) if length is None else length) + machine +
            b"".join(subsections))


def subsection(title, body, version=1):
    return bytes([SUBSECTION]) + name(title) + be32(version) + body


def page_bits(bits):
    return subsection("configuration/target-page-bits", be32(bits))


def capabilities(*names, count=None):
    return subsection("configuration/capabilities",
                      be32(len(names) if count is None else count) + b"".join(map(name, names)))


def uuid(value):
    return subsection("configuration/uuid", value)


def long_header(kind, section_id, idstr, instance, version):
    return bytes([kind]) + be32(section_id) + name(idstr) + be32(instance) + be32(version)


def footer(section_id=RAM_ID):
    return bytes([FOOTER]) + be32(section_id)


def start(*records, section_id=RAM_ID, idstr="ram", instance=0, version=4):
    return (long_header(START, section_id, idstr, instance, version) + b"".join(records) + eos() +
            footer(section_id))


def part(*records, section_id=RAM_ID, kind=PART):
    return bytes([kind]) + be32(section_id) + b"".join(records) + eos() + footer(section_id)


def end(*records, section_id=RAM_ID):
    return part(*records, section_id=section_id, kind=END)


def full(idstr, body, section_id=40, instance=0, version=1):
    return long_header(FULL, section_id, idstr, instance, version) + body + footer(section_id)


def command(number, payload=b"", length=None):
    return (bytes([COMMAND]) + be16(number) + be16(len(payload) if length is None else length) +
            payload)


def ping(value):
    return command(2, be32(value))


OPEN = command(1)


# Records of the ram section.

def record(flags, offset=0, block=None, body=b""):
    """Names @block, or continues the one before."""
    if block is None:
        return be64(offset | flags | CONTINUE) + body
    return be64(offset | flags) + name(block) + body


def bare(flags, offset=0):
    return be64(offset | flags)


def block_list(blocks=BLOCKS, total=None):
    return (be64((sum(n for _, n in blocks) if total is None else total) | MEM_SIZE) +
            b"".join(name(idstr) + be64(n) for idstr, n in blocks))


def page(offset, data, block=None):
    return record(RAW, offset, block, data)


def zero(offset, block=None, fill=0):
    return record(ZERO, offset, block, bytes([fill]))


def xbzrle(offset, delta, block=None, encoding=1, length=None):
    return record(XBZRLE, offset, block,
                  bytes([encoding]) + be16(len(delta) if length is None else length) + delta)


def compressed(offset, data, block=None, length=None):
    return record(COMPRESSED, offset, block,
                  be32(len(data) if length is None else length) + data)


def eos():
    return bare(EOS)


def flush():
    return bare(FLUSH)


# Multifd.

def hello(number, owner=bytes(16), magic=0x11223344, version=1, reserved=bytes(39)):
    return be32(magic) + be32(version) + owner + bytes([number]) + reserved


def packet(pages=(), zeros=(), payload=b"", flags=0, block="pc.ram", **lies):
    """@pages and @zeros are offsets. A lie replaces a field of the header by its name."""
    pages, zeros = list(pages), list(zeros)
    field = {"magic": 0x11223344, "version": 1, "flags": flags,
             "alloc": PAGES_MAX if pages or zeros else 0, "normal": len(pages),
             "size": len(payload), "number": 0, "zero": len(zeros),
             "reserved": bytes(28), "block": text(block if pages or zeros else "")}
    assert not set(lies) - set(field), lies
    field.update(lies)
    offsets = b"".join(map(be64, pages + zeros)).ljust(8 * PAGES_MAX, b"\0")
    return (struct.pack(">IIIIIIQI", field["magic"], field["version"], field["flags"],
                        field["alloc"], field["normal"], field["size"], field["number"],
                        field["zero"]) +
            field["reserved"] + field["block"].ljust(256, b"\0") + offsets[:8 * PAGES_MAX] +
            payload)


def sync():
    return packet(flags=SYNC)


def device_state(idstr="vfio", instance=0, payload=b"x" * 16, flags=DEVICE_STATE, size=None):
    return (struct.pack(">III", 0x11223344, 1, flags) + text(idstr).ljust(256, b"\0") +
            be32(instance) + be32(len(payload) if size is None else size) + payload)


class ZlibStream:
    """One channel's: a stream for the whole migration, flushed at the end of each packet."""

    def __init__(self, level=1):
        self.deflate = zlib.compressobj(level)

    def __call__(self, data):
        return self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)


ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def zstd_block(data, last=False, kind=0, size=None):
    """@kind: 0 raw, 1 one byte repeated @size times, 2 compressed."""
    size = len(data) if size is None else size
    return (size << 3 | kind << 1 | last).to_bytes(3, "little") + data


def zstd_blocks(data, last=True):
    """Raw blocks of at most 128 KiB."""
    pieces = [data[at:at + (128 << 10)] for at in range(0, len(data), 128 << 10)]
    return b"".join(zstd_block(piece, last and i == len(pieces) - 1)
                    for i, piece in enumerate(pieces))


def zstd_header(window_log=20, checksum=False, dictionary=None, content_size=None):
    """A frame's header. Windows above 10 have one byte: exponent and mantissa."""
    descriptor = 4 if checksum else 0
    body = bytes([(window_log - 10) << 3])
    if dictionary is not None:
        descriptor |= 3
        body += dictionary.to_bytes(4, "little")
    if content_size is not None:
        descriptor |= 3 << 6
        body += content_size.to_bytes(8, "little")
    return ZSTD_MAGIC + bytes([descriptor]) + body


def zstd_frame(data, **more):
    return zstd_header(**more) + zstd_blocks(data)


class ZstdStream:
    """One channel's: a frame for the whole migration, of raw blocks."""

    def __init__(self):
        self.head = zstd_header()

    def __call__(self, data):
        head, self.head = self.head, b""
        return head + zstd_blocks(data, last=False)


# Device sections and the description of them.

DEVICES = (("timer", b"\x01\x02\x03" * 8), ("cpu_common", bytes(range(64))))
GLOBALSTATE = ("globalstate", be32(8) + b"running\0".ljust(32, b"\0") + b"\x01\x00" + bytes(66))


def devices(sections=(*DEVICES, GLOBALSTATE)):
    return b"".join(full(idstr, body, section_id=40 + i)
                    for i, (idstr, body) in enumerate(sections))


def describe(sections=(*DEVICES, GLOBALSTATE), page_size=PAGE):
    return json.dumps({"page_size": page_size, "devices": [
        {"name": idstr, "instance_id": 0, "vmsd_name": idstr, "version": 1,
         "fields": [{"name": "data", "size": len(body), "type": "buffer"}]}
        for idstr, body in sections]}).encode()


def eof(description=None, length=None):
    description = describe() if description is None else description
    return (bytes([EOF, DESCRIPTION]) +
            be32(len(description) if length is None else length) + description)


# A whole guest.

def content(number, size=PAGE):
    """Some bytes that are the page's own."""
    return (b"page %d of this guest. " % number * (size // 8))[:size]


class Stream:
    """A good stream in named parts; a test puts its own in place of one, or stops before it."""

    ORDER = ("header", "configuration", "commands", "start", "rounds", "end", "devices", "eof")

    def __init__(self, **parts):
        self.parts = {
            "header": header(),
            "configuration": configuration(),
            "commands": OPEN + ping(1),
            "start": start(block_list()),
            "rounds": part(page(0, content(0), "pc.ram"), page(PAGE, content(1)),
                           zero(2 * PAGE), page(5 * PAGE, content(5))) +
                      part(page(PAGE, content(7)), page(0, content(9), "pc.bios")),
            "end": end(page(3 * PAGE, content(3), "pc.ram")),
            "devices": devices(),
            "eof": eof(),
        }
        assert not set(parts) - set(self.parts), parts
        self.parts.update(parts)

    def __bytes__(self):
        return b"".join(self.parts[p] for p in self.ORDER)

    def before(self, part_name):
        """Everything in front of a part."""
        return b"".join(self.parts[p] for p in self.ORDER[:self.ORDER.index(part_name)])


def memory(pages, blocks=BLOCKS):
    """A guest's RAM: block name -> bytes, out of {(block, offset): bytes}."""
    ram = {idstr: bytearray(n) for idstr, n in blocks}
    for (idstr, offset), data in pages.items():
        ram[idstr][offset:offset + len(data)] = data
    return {idstr: bytes(data) for idstr, data in ram.items()}


GOOD = bytes(Stream())
GOOD_RAM = memory({("pc.ram", 0): content(0), ("pc.ram", PAGE): content(7),
                   ("pc.ram", 5 * PAGE): content(5), ("pc.bios", 0): content(9),
                   ("pc.ram", 3 * PAGE): content(3)})


# The same guest in a file, its pages at fixed places (mapped-ram).

def mapped_header(bitmap_offset, pages_offset, version=1, page_size=PAGE):
    return be32(version) + be64(page_size) + be64(bitmap_offset) + be64(pages_offset)


def mapped_file(ram=None, head=None, bitmap=lambda words: words, tail=None, **lies):
    """The bytes of a snapshot of @ram (block -> content). @bitmap changes each block's bitmap; a
    lie replaces a field of the first block's header, or is added to it if it is callable."""
    ram = GOOD_RAM if ram is None else ram
    head = (header() + configuration(MACHINE, capabilities("mapped-ram"))) if head is None else head
    out = bytearray(head + long_header(START, RAM_ID, "ram", 0, 4) +
                    be64(sum(map(len, ram.values())) | MEM_SIZE))
    for idstr, content_ in ram.items():
        out += name(idstr) + be64(len(content_))
        pages = len(content_) // PAGE
        fields = {"bitmap_offset": len(out) + 28}
        words = bytearray((pages + 63) // 64 * 8)
        for i in range(pages):
            if content_[i * PAGE:(i + 1) * PAGE].strip(b"\0"):
                words[i // 8] |= 1 << i % 8
        fields["pages_offset"] = -(-(fields["bitmap_offset"] + len(words)) // PAGE) * PAGE
        pages_offset = fields["pages_offset"]
        for key, lie in lies.items():
            fields[key] = lie(fields[key]) if callable(lie) else lie
        lies = {}
        out += mapped_header(**fields) + bitmap(bytes(words))
        out = out.ljust(pages_offset, b"\0") + content_
    return bytes(out) + (eos() + footer() + end() + devices() + eof() if tail is None else tail)


# What a destination says back.

SHUT, PONG, REQ_PAGES_ID, REQ_PAGES, RECV_BITMAP, RESUME_ACK, SWITCHOVER_ACK = range(1, 8)


def answer(kind, payload=b"", length=None):
    return be16(kind) + be16(len(payload) if length is None else length) + payload


def answers(heard):
    """(type, payload) of each whole message."""
    found = []
    while len(heard) >= 4:
        kind, length = struct.unpack(">HH", heard[:4])
        if len(heard) < 4 + length:
            break
        found.append((kind, heard[4:4 + length]))
        heard = heard[4 + length:]
    return found
