#!/usr/bin/env python3
"""Reads page dirty traces (.pdt), made from docs/trace-format.md alone.

usage: pdt.py [--frames] FILE

Prints the header, how many frames there are and how the trace ends, and the totals; with --frames a
line for each: number, begin, span, pages, runs, and the SHA-256 of its pages as 64-bit little-endian
numbers, followed by its classes and quarters.
"""
import hashlib
import json
import os
import struct
import subprocess
import sys
import zlib

MAGIC = b"\x89PDT\r\n\x1a\n"
CHUNK = struct.Struct("<4sIIIQQI")
MAX = 64 << 20


class Damaged(Exception):
    """The trace ends here; what came before is whole."""


def unpack(packed, size):
    try:
        import zstandard
        data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
    except ImportError:
        data = subprocess.run(["zstd", "-dc"], input=packed, stdout=subprocess.PIPE,
                              check=True).stdout
    if len(data) != size:
        raise Damaged("a payload unpacks to another size")
    return data


class Bytes:
    def __init__(self, data, at=0, end=None):
        self.data, self.at, self.end = data, at, len(data) if end is None else end

    def take(self, n):
        if n > self.end - self.at:
            raise Damaged("a frame is cut short")
        self.at += n
        return self.data[self.at - n:self.at]

    def varint(self):
        value = shift = 0
        while True:
            byte, = self.take(1)
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value


def read_runs(data, pages):
    """A list of (first, n)."""
    runs, at = [], 0
    for _ in range(data.varint()):
        gap = data.varint()
        n = data.varint() + 2 if gap & 1 else 1
        at += gap >> 1
        if at + n > pages or (runs and gap < 2):
            raise Damaged("a run where none can be")
        runs.append((at, n))
        at += n
    return runs


def read_bitmap(data, pages):
    bits = int.from_bytes(data.take((pages + 7) // 8), "little")
    return to_runs(page for page, bit in enumerate(reversed(bin(bits)[2:])) if bit == "1")


def to_runs(pages):
    runs = []
    for page in pages:
        if runs and page == runs[-1][0] + runs[-1][1]:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((page, 1))
    return runs


def pages_of(runs):
    return {page for first, n in runs for page in range(first, first + n)}


def read_annotations(data, frame):
    n = frame["pages"]
    size = data.varint()
    data.take(size)
    notes = Bytes(data.data, data.at - size, data.at)
    while notes.at < notes.end:
        kind = notes.varint()
        body = notes.take(notes.varint())
        if kind == 1:
            frame["classes"] = list(body)
        elif kind == 2:
            frame["quarters"] = [body[i // 4] >> i % 4 * 2 & 3 for i in range(n)]
        elif kind == 3:
            frame["throttle_percent"] = Bytes(body).varint()
        elif kind == 4:
            frame["ran_ns"] = Bytes(body).varint()


class Trace:
    def __init__(self, path):
        self.file = open(path, "rb")
        self.size = os.path.getsize(path)
        magic, version, size, crc = struct.unpack("<8sIII", self.file.read(20))
        if magic != MAGIC or version != 1 or size > 16 << 20:
            raise Damaged("not a page dirty trace of version 1")
        text = self.file.read(size)
        if zlib.crc32(text) != crc:
            raise Damaged("the header's checksum is wrong")
        self.header = json.loads(text)
        self.blocks = list(self.header["blocks"])
        self.classes = {}  # page: class at the beginning
        self.totals = None
        self.ended = False  # with an index, and what follows it

    def chunks(self):
        while True:
            head = self.file.read(CHUNK.size)
            if len(head) < CHUNK.size:
                return
            kind, packed, size, count, where, time, crc = CHUNK.unpack(head)
            if packed > MAX or size > MAX:
                raise Damaged("a chunk of more than 64 MiB")
            payload = self.file.read(packed)
            if len(payload) < packed:
                return
            if zlib.crc32(payload, zlib.crc32(head[:32])) != crc:
                raise Damaged("a chunk's checksum is wrong")
            if kind in (b"CLAS", b"BLKS", b"FRMS", b"TOTL") and packed != size:
                payload = unpack(payload, size)
            yield kind, count, where, time, payload
            if kind == b"INDX":
                tail = self.file.read(17)
                self.ended = len(tail) == 16 and tail[8:] == b"PDT-END\0"
                return

    def frames(self):
        """Dictionaries: number, begin_ns, span_ns, pages, runs and what annotations say."""
        number = clock = 0
        for kind, count, where, time, payload in self.chunks():
            if kind == b"CLAS":
                self.classes.update(enumerate(payload, where))
            elif kind == b"BLKS":
                self.blocks += json.loads(payload)
            elif kind == b"TOTL":
                self.totals = json.loads(payload)
            elif kind == b"FRMS":
                if where != number or time != clock:
                    raise Damaged("frames that do not follow those before")
                n_pages = sum(block["pages"] for block in self.blocks)
                data, runs = Bytes(payload), []
                for _ in range(count):
                    span, flags = data.varint(), data.varint()
                    last = runs
                    runs = (read_bitmap if flags & 2 else read_runs)(data, n_pages)
                    if flags & 1:
                        runs = to_runs(sorted(pages_of(runs) ^ pages_of(last)))
                    frame = {"number": number, "begin_ns": clock, "span_ns": span,
                             "pages": sum(n for _, n in runs), "runs": runs}
                    if flags & 4:
                        read_annotations(data, frame)
                    yield frame
                    number += 1
                    clock += span


def digest(frame):
    h = hashlib.sha256()
    for first, n in frame["runs"]:
        h.update(struct.pack(f"<{n}Q", *range(first, first + n)))
    h.update(bytes(frame.get("classes", [])))
    h.update(bytes(frame.get("quarters", [])))
    return h.hexdigest()


def main(arguments):
    show = arguments[:1] == ["--frames"]
    if len(arguments) != 1 + show:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    frames = pages = 0
    status = "cut"
    try:
        trace = Trace(arguments[-1])
        print(json.dumps(trace.header))
        for frame in trace.frames():
            frames += 1
            pages += frame["pages"]
            if show:
                print(frame["number"], frame["begin_ns"], frame["span_ns"], frame["pages"],
                      len(frame["runs"]), digest(frame), frame.get("throttle_percent", 0),
                      frame.get("ran_ns", "-"))
        status = "whole" if trace.ended else "cut"
    except Damaged as problem:
        status = f"damaged: {problem}"
        if "trace" not in locals():
            print(status, file=sys.stderr)
            return 1
    print(json.dumps({"frames": frames, "pages_written": pages, "blocks": len(trace.blocks),
                      "classes": len(trace.classes), "status": status, "totals": trace.totals}))
    return 0 if status == "whole" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
