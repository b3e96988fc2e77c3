"""The rules of the house that a machine can check."""
import os
import re
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ["FERRY_BUILD"]

# What each folder may include besides the C library, GLib and its own room. The longest prefix
# counts. Nothing looks up.
MAY_INCLUDE = {
    "protocol": [],
    "dirtylog": [],
    "transport": [],
    "engine/precopy": ["dirtylog/bitmap.h"],
    "trace": ["dirtylog/bitmap.h"],
    "simulator": ["dirtylog/bitmap.h", "engine/precopy", "trace"],
    "engine": ["protocol", "dirtylog", "transport", "trace", "engine/precopy"],
    "tools": ["engine/ferry.h"],
}
# What some tools see besides: those that take guests in, send them on, or look inside.
KEPT = ["engine/capture.h", "engine/compress.h", "engine/gather.h", "protocol"]
MAY_ALSO_INCLUDE = {"receive": KEPT, "send": KEPT, "transfer": KEPT, "peer": KEPT,
                    "predict": ["simulator", "trace"], "result": ["trace"], "bound": ["trace"], "convert": ["trace"], "costs": ["simulator"],
                    "calibrate": ["simulator", "engine/compress.h", "engine/page.h", "protocol"],
                    "simulate": ["simulator", "engine/precopy", "trace"],
                    "figures": ["trace"],
                    "record": ["dirtylog", "trace", "simulator"],
                    "replay": [*KEPT, "trace"],
                    "inspect": [*KEPT, "engine/mapped-load.h", "trace"]}

# What pure code may need from outside: memory, strings, and GLib's of the same kinds.
PURE = re.compile(
    r"mem(cpy|move|set|cmp|chr|rchr)|bcmp|str(len|cmp|ncmp|chr|rchr|nlen|cspn)|__(mem|str)\w+_chk"
    r"|__stack_chk_fail|__popcountdi2|__u?(div|mod)ti3|abort|_GLOBAL_OFFSET_TABLE_|__(asan|ubsan)_\w+"
    r"|g_(malloc0?(_n)?|(try_)?realloc(_n)?|try_malloc0?(_n)?|free(_sized)?|clear_pointer|memdup2?)"
    r"|g_(strdup|strndup|strdup_v?printf|strlcpy|str_equal|strcmp0|str_has_prefix|utf8_validate\w*)"
    r"|g_(snprintf|ascii_\w+|string_\w+|quark_from_static_string|intern_static_string)"
    r"|g_(error_\w+|set_error(_literal)?|prefix_error|propagate_\w*error|clear_error)"
    r"|g_(byte_array|array|ptr_array|hash_table|str)_\w+"
    r"|g_(assertion_message(_expr)?|return_if_fail_warning|assert_warning|log)"
)
# Text of the stream's description is built and read with json-glib, in memory only.
PURE_JSON = re.compile(PURE.pattern + r"|json_\w+|g_object_unref")
# A trace's chunks are packed and checked, in memory as well.
PURE_TRACE = re.compile(PURE_JSON.pattern + r"|ZSTD_\w+|crc32_z|g_utf8_\w+")


def files(*suffixes):
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.splitlines()
            if name.endswith(suffixes) and os.path.exists(os.path.join(ROOT, name))]


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8", errors="replace") as f:
        return f.read()


def undefined(library):
    """Symbols that the archive needs and does not have itself."""
    path = os.path.join(BUILD, library)
    needed = subprocess.run(["nm", "-u", path], check=True, capture_output=True, text=True).stdout
    own = subprocess.run(["nm", "--defined-only", path], check=True, capture_output=True,
                         text=True).stdout
    defined = {line.split()[-1] for line in own.splitlines() if len(line.split()) >= 3}
    return {line.split()[-1].split("@")[0] for line in needed.splitlines()
            if line.startswith(" ")} - defined


@pytest.mark.parametrize("library, allowed", [
    ("protocol/libferry-protocol.a", PURE_JSON),
    ("dirtylog/libferry-bitmap.a", PURE),
    ("engine/precopy/libferry-precopy.a", PURE),
    ("simulator/libferry-simulator.a", PURE),
    ("trace/libferry-bounds.a", PURE),
    ("trace/libferry-trace.a", PURE_TRACE),
], ids=["protocol", "bitmap", "precopy", "simulator", "bounds", "trace"])
def test_pure_rooms_need_memory_and_strings_only(library, allowed):
    from_below = re.compile({"libferry-precopy.a": r"ferry_bitmap_\w+",
                             "libferry-simulator.a": r"ferry_(bitmap|precopy|scale|rate|trace)\w*",
                             }.get(os.path.basename(library), r"(?!)"))
    assert sorted(s for s in undefined(library)
                  if not allowed.fullmatch(s) and not from_below.fullmatch(s)) == []


def test_every_room_includes_only_what_lies_below():
    wrong = []
    for name in files(".c", ".h", ".S"):
        room = max((r for r in MAY_INCLUDE if name.startswith(r + "/")), key=len, default=None)
        if room is None:
            continue
        for header in re.findall(r'^#include "([^"]+)"', read(name), re.M):
            allowed = [room, *MAY_INCLUDE[room]]
            if room == "tools":
                allowed += MAY_ALSO_INCLUDE.get(re.split(r"[-.]", os.path.basename(name))[0], [])
            if not any(header == a or header.startswith(a + "/") for a in allowed):
                wrong.append(f"{name} includes {header}")
    assert wrong == []


def test_no_file_names_a_path_of_some_machine():
    words = "|".join(["/ho" + "me/", "/ro" + "ot/", "/wo" + "rk/", "bash_" + "jobs", "TO" + "DO",
                      "FIX" + "ME"])
    assert [f"{name}: {hit}" for name in files("") if not name.startswith("tests/vectors/")
            for hit in re.findall(words, read(name))] == []
