"""Writes page dirty traces as docs/trace-format.md has them, without compression."""
import json
import struct
import zlib


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def joined(sets):
    """Runs must lie apart: neighbours become one run."""
    runs = []
    for page in sorted(sets):
        if runs and runs[-1][0] + runs[-1][1] == page:
            runs[-1][1] += 1
        else:
            runs.append([page, 1])
    return runs


def encode(pages, span_ns):
    out, end = [varint(span_ns), varint(0)], 0
    runs = joined(pages)
    out.append(varint(len(runs)))
    for first, n in runs:
        out.append(varint((first - end) * 2 + (n > 1)) + (varint(n - 2) if n > 1 else b""))
        end = first + n
    return b"".join(out)


def chunk(kind, payload, count=0, where=0, time=0):
    head = struct.pack("<4sIIIQQ", kind, len(payload), len(payload), count, where, time)
    return head + struct.pack("<I", zlib.crc32(head + payload)) + payload


def write(path, ram_pages, frames, interval_ms=10):
    """@frames: an iterable of page numbers each."""
    header = json.dumps({"page_bytes": 4096, "blocks": [{"name": "ram", "pages": ram_pages}],
                         "method": "synthetic", "interval_ns": interval_ms * 10**6}).encode()
    out = b"\x89PDT\r\n\x1a\n" + struct.pack("<III", 1, len(header), zlib.crc32(header)) + header
    span, index, n = interval_ms * 10**6, b"", 0
    for first in range(0, len(frames), 100):
        some = frames[first:first + 100]
        index += struct.pack("<QQQII", len(out), first, first * span, len(some), 0)
        out += chunk(b"FRMS", b"".join(encode(set(f), span) for f in some), len(some), first,
                     first * span)
        n += 1
    totals = {"frames": len(frames), "pages_written": sum(len(set(f)) for f in frames),
              "distinct_pages": len(set().union(*frames)), "ended": "done"}
    out += chunk(b"TOTL", json.dumps(totals).encode(), time=len(frames) * span)
    at = len(out)
    out += chunk(b"INDX", index, n) + struct.pack("<Q", at) + b"PDT-END\0"
    with open(path, "wb") as f:
        f.write(out)
