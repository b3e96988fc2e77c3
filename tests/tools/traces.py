"""Small page dirty traces, written by docs/trace-format.md without packing anything."""
import json
import struct
import zlib

MAGIC = b"\x89PDT\r\n\x1a\n"


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def frame(span_ns, pages):
    """One frame whose set is one-page runs."""
    runs, after = b"", 0
    pages = sorted(pages)
    joined = []
    for page in pages:
        if joined and page == joined[-1][0] + joined[-1][1]:
            joined[-1][1] += 1
        else:
            joined.append([page, 1])
    for first, n in joined:
        runs += varint((first - after) * 2 + (n > 1)) + (varint(n - 2) if n > 1 else b"")
        after = first + n
    return varint(span_ns) + varint(0) + varint(len(joined)) + runs


def chunk(kind, payload, count, where, time):
    head = struct.pack("<4sIIIQQ", kind, len(payload), len(payload), count, where, time)
    return head + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))) + payload


def write_trace(path, blocks, frames, interval_ns=100_000_000, curve=(), is_ended=True, **header):
    """@blocks: (name, pages); @frames: a set of pages each."""
    head = json.dumps({"page_bytes": 4096, "method": "synthetic", "interval_ns": interval_ns,
                       "blocks": [{"name": name, "pages": pages} for name, pages in blocks],
                       **header}).encode()
    data = MAGIC + struct.pack("<III", 1, len(head), zlib.crc32(head)) + head
    index = b""
    for first in range(0, len(frames), 100):
        some = frames[first:first + 100]
        index += struct.pack("<QQQII", len(data), first, first * interval_ns, len(some), 0)
        data += chunk(b"FRMS", b"".join(frame(interval_ns, pages) for pages in some), len(some),
                      first, first * interval_ns)
    if is_ended:
        totals = {"frames": len(frames), "pages_written": sum(map(len, frames)),
                  "distinct_pages": len(set().union(*frames)), "curve": list(curve),
                  "ended": "done"}
        data += chunk(b"TOTL", json.dumps(totals).encode(), 0, 0, len(frames) * interval_ns)
        at = len(data)
        data += chunk(b"INDX", index, len(index) // 32, 0, 0)
        data += struct.pack("<Q8s", at, b"PDT-END\0")
    with open(path, "wb") as f:
        f.write(data)
