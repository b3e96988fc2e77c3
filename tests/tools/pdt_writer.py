"""Writes small page dirty traces for tests, by docs/trace-format.md."""
import json
import struct
import zlib

MAGIC = b"\x89PDT\r\n\x1a\n"


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def chunk(kind, payload, count=0, where=0, time=0):
    """As it is, not packed."""
    head = struct.pack("<4sIIIQQ", kind, len(payload), len(payload), count, where, time)
    return head + struct.pack("<I", zlib.crc32(head + payload)) + payload


class Trace:
    def __init__(self, pages, classes=None, blocks=None, **header):
        blocks = blocks or [{"name": "ram", "pages": pages}]
        text = json.dumps({"page_bytes": 4096, "method": "synthetic", "blocks": blocks,
                           **header}).encode()
        self.bytes = bytearray(MAGIC + struct.pack("<III", 1, len(text), zlib.crc32(text)) + text)
        if classes:
            self.bytes += chunk(b"CLAS", bytes(classes), len(classes))
        self.index = []
        self.frames = self.first = self.begin = self.now = self.written = 0
        self.payload = bytearray()
        self.pages = set()

    def frame(self, ms, runs, classes=None, quarters=None, throttle=None, ran_ms=None):
        """Runs of (first, n), ascending and apart."""
        notes = b""
        for kind, data in [(1, classes and bytes(classes)),
                           (2, quarters and self.packed(quarters)),
                           (3, throttle is not None and varint(throttle)),
                           (4, ran_ms is not None and varint(round(ran_ms * 1e6)))]:
            if data:
                notes += varint(kind) + varint(len(data)) + data
        self.payload += varint(round(ms * 1e6)) + varint(4 if notes else 0) + varint(len(runs))
        at = 0
        for first, n in runs:
            self.payload += varint((first - at) * 2 + (n > 1)) + (varint(n - 2) if n > 1 else b"")
            at = first + n
            self.pages |= set(range(first, at))
            self.written += n
        if notes:
            self.payload += varint(len(notes)) + notes
        self.frames += 1
        self.now += round(ms * 1e6)
        if self.frames - self.first == 256:
            self.flush()

    @staticmethod
    def packed(quarters):
        out = bytearray((len(quarters) + 3) // 4)
        for i, quarter in enumerate(quarters):
            out[i // 4] |= quarter << (i % 4 * 2)
        return bytes(out)

    def flush(self):
        if self.frames > self.first:
            self.index.append(struct.pack("<QQQII", len(self.bytes), self.first, self.begin,
                                          self.frames - self.first, 0))
            self.bytes += chunk(b"FRMS", bytes(self.payload), self.frames - self.first, self.first,
                                self.begin)
        self.payload = bytearray()
        self.first, self.begin = self.frames, self.now

    def save(self, path, end=True):
        self.flush()
        bytes_ = bytes(self.bytes)
        if end:
            totals = json.dumps({"frames": self.frames, "pages_written": self.written,
                                 "distinct_pages": len(self.pages), "ended": "done"}).encode()
            bytes_ += chunk(b"TOTL", totals, time=self.now)
            at = len(bytes_)
            bytes_ += chunk(b"INDX", b"".join(self.index), len(self.index))
            bytes_ += struct.pack("<Q", at) + b"PDT-END\0"
        path.write_bytes(bytes_)
        return path
