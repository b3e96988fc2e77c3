"""ferry inspect over streams that real QEMUs sent."""
import ctypes
import functools
import glob
import hashlib
import json
import os
import struct
import subprocess

import pytest

from ferry_program import FERRY, ferry

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors", "streams")
NAMES = sorted(os.path.basename(path).removesuffix(".expected.json")
               for path in glob.glob(os.path.join(VECTORS, "*.expected.json")))
MULTIFD = [name for name in NAMES if "multifd" in name]
COMMANDS = {"switchover-start": 11}


@functools.cache
def expected(name):
    with open(os.path.join(VECTORS, name + ".expected.json"), encoding="utf-8") as f:
        return json.load(f)


def files(name):
    """Main first."""
    return [os.path.join(VECTORS, expected(name)["files"][key])
            for key in sorted(expected(name)["files"], key=lambda key: (key[:2] == "ch", key))]


def unpacked(path):
    """The content of a .zst file, by libzstd itself."""
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    zstd.ZSTD_decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p,
                                     ctypes.c_size_t]
    with open(path, "rb") as f:
        packed = f.read()
    room = ctypes.create_string_buffer(64 << 20)
    n = zstd.ZSTD_decompress(room, len(room), packed, len(packed))
    assert n <= len(room), path  # an error is a huge number
    return room.raw[:n]


def inspect(*words, **more):
    done = ferry("inspect", "--json", *words, **more)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert said["status"] == "completed" and "error" not in said
    return said


def ends_in_an_empty_packet(channel):
    """As QEMU up to 8.2 sends it when a SYNC rode on data."""
    magic, _, flags, _, normal = struct.unpack(">5I", channel[-1344:-1324])
    return (magic, flags, normal) == (0x11223344, 0, 0)


@functools.cache
def hashed(name):
    return inspect("--hash", *files(name))


def test_there_are_captures_of_every_kind():
    assert len(NAMES) == 11 and len(MULTIFD) == 6


@pytest.mark.parametrize("name", NAMES)
def test_ram_is_rebuilt_as_the_source_had_it(name):
    assert [(b["name"], b["length_bytes"], b["sha256"]) for b in hashed(name)["blocks"]] == \
           [(b["name"], b["length"], b["sha256"]) for b in expected(name)["blocks"]]


@pytest.mark.parametrize("name", NAMES)
def test_device_sections_are_those_of_the_capture(name):
    assert [[s["section_id"], s["idstr"], s["instance_id"], s["version_id"], s["body_bytes"]]
            for s in hashed(name)["sections"] if s["type"] == "FULL"] == \
           [[d["section_id"], d["idstr"], d["instance_id"], d["version_id"], d["body_bytes"]]
            for d in expected(name)["devices"]]


@pytest.mark.parametrize("name", NAMES)
def test_offsets_and_hashes_of_sections_are_the_bytes_there(name):
    stream = unpacked(files(name)[0])
    devices = [s for s in hashed(name)["sections"] if s["type"] == "FULL"]
    for s in devices:
        body = s["offset"] + 14 + len(s["idstr"])
        assert hashlib.sha256(stream[body:body + s["body_bytes"]]).hexdigest() == s["sha256"]
    size = expected(name)["device_blob_bytes"]
    blob = stream[devices[0]["offset"]:][:size]
    assert hashlib.sha256(blob).hexdigest() == expected(name)["device_blob_sha256"]
    assert size == 1 + sum(19 + len(s["idstr"]) + s["body_bytes"] for s in devices)
    assert hashed(name)["bytes"] == len(stream)


@pytest.mark.parametrize("name", [name for name in NAMES if "record_counts" in expected(name)])
def test_records_are_counted(name):
    said = hashed(name)
    records = said["records"]
    counted = {"MEM": records["MEM_SIZE"], "ZERO": records["ZERO"], "PAGE": records["PAGE"],
               "XBZ": records["XBZRLE"], "COMP": records["COMPRESS_PAGE"],
               "FLUSH": records["MULTIFD_FLUSH"], "EOS": records["EOS"],
               "name": records["named"], "cont": records["continued"]}
    for channel in said.get("multifd", {"channels": []})["channels"]:
        for flags, n in channel["flags"].items():
            counted["mf_flag" + flags] = counted.get("mf_flag" + flags, 0) + n
        counted["mf_normal"] = counted.get("mf_normal", 0) + channel["normal_pages"]
        counted["mf_zero"] = counted.get("mf_zero", 0) + channel["zero_pages"]
    wanted = dict(expected(name)["record_counts"])
    for path in files(name)[1:]:  # whoever counted stopped at the last barrier
        wanted["mf_flag0"] = wanted.get("mf_flag0", 0) + ends_in_an_empty_packet(unpacked(path))
    assert {key: n for key, n in counted.items() if n} == {k: n for k, n in wanted.items() if n}


@pytest.mark.parametrize("name", [name for name in NAMES if "record_order" in expected(name)])
def test_sections_of_ram_and_commands_come_in_their_order(name):
    said = hashed(name)
    found = [(s["offset"], [s["type"], s["section_id"]] +
              (["ram", 0, 4] if s["type"] == "START" else []))
             for s in said["sections"] if s["type"] != "FULL"]
    found += [(c["offset"], ["CMD", COMMANDS[c["name"]], ""]) for c in said["commands"]]
    wanted = expected(name)["record_order"]  # at most 60 are kept
    assert len(wanted) == min(60, len(found))
    assert [what for _, what in sorted(found)][:60] == wanted
    assert said["rounds"] == sum(s["type"] == "PART" for s in said["sections"])


@pytest.mark.parametrize("name", NAMES)
def test_configuration_and_state_of_the_guest(name):
    said = hashed(name)
    assert said["configuration"]["machine"] == expected(name)["machine"]
    subsections = [["configuration/capabilities", 1, said["configuration"]["capabilities"]]] \
        if "capabilities" in said["configuration"] else []
    assert subsections == expected(name)["config_subsections"]
    assert said["page_size"] == said["description"]["page_size"] == 4096
    assert said["run_state"] == "running" and said["notes"] == []
    assert said["ram_bytes"] == sum(b["length"] for b in expected(name)["blocks"])
    assert said["kind"] == ("mapped-ram" if "mappedram" in name else "stream")


@pytest.mark.parametrize("name", MULTIFD)
def test_barriers_are_per_section_before_8_1_and_per_round_since(name):
    said = hashed(name)
    multifd, records = said["multifd"], said["records"]
    old = expected(name)["qemu"].startswith("7.")
    assert multifd["sync_mode"] == ("per-section" if old else "per-round")
    assert multifd["barriers"] == (records["EOS"] if old else records["MULTIFD_FLUSH"])
    assert sum(s.get("barriers", 0) for s in said["sections"]) == multifd["barriers"]
    assert multifd["method"] == expected(name)["parameters"]["multifd-compression"]
    for i, channel in enumerate(multifd["channels"]):
        assert channel["id"] == i and channel["sync_packets"] == multifd["barriers"]
        assert channel["uuid"] == "00000000-0000-0000-0000-000000000000"
        assert channel["packets"] == sum(channel["flags"].values())
        assert channel["bytes"] == len(unpacked(files(name)[1 + i]))


@pytest.mark.parametrize("name", NAMES)
def test_pages_of_sections_and_blocks_add_up(name):
    said = hashed(name)
    totals = [{}, {}]
    for total, parts in zip(totals, (said["blocks"], said["sections"])):
        for part in parts:
            for kind, n in part.get("pages", {}).items():
                total[kind] = total.get(kind, 0) + n
    assert totals[0] == totals[1]
    records = said["records"]
    assert totals[0].get("normal", 0) == records["PAGE"]
    assert totals[0].get("zero", 0) == records["ZERO"]


@pytest.mark.parametrize("name", NAMES)
def test_without_hashes_the_rest_is_the_same(name):
    plain = inspect(*files(name))

    def bare(said):
        return json.loads(json.dumps(said), object_hook=lambda o: {k: v for k, v in o.items()
                                                                   if k != "sha256"})
    assert plain == bare(plain) == bare(hashed(name))


@pytest.mark.parametrize("name", NAMES)
def test_an_unpacked_file_a_pipe_and_any_order_give_the_same(name, tmp_path):
    paths = []
    for path in files(name):
        paths.append(str(tmp_path / os.path.basename(path).removesuffix(".zst")))
        with open(paths[-1], "wb") as f:
            f.write(unpacked(path))
    blocks = [b["sha256"] for b in hashed(name)["blocks"]]
    assert [b["sha256"] for b in inspect("--hash", *reversed(paths))["blocks"]] == blocks
    with open(paths[0], "rb") as f:
        done = subprocess.run(["sh", "-c", 'cat | "$@"', "sh", FERRY, "inspect", "--json", "--hash",
                               "-", *paths[1:]], stdin=f, capture_output=True, check=True,
                              timeout=100)
    piped = json.loads(done.stdout)
    assert [b["sha256"] for b in piped["blocks"]] == blocks and piped["file"] == "standard input"


@pytest.mark.parametrize("name", NAMES)
def test_a_line_for_each_page(name):
    done = ferry("inspect", "--json", "--pages", *files(name))
    assert done.returncode == 0
    *pages, said = map(json.loads, done.stdout.splitlines())
    kinds, blocks = {}, {b["name"]: b["length"] for b in expected(name)["blocks"]}
    for page in pages:
        kinds[page["kind"]] = kinds.get(page["kind"], 0) + 1
        assert page["page_offset"] % 4096 == 0 and page["page_offset"] < blocks[page["block"]]
        assert set(page) == {"channel", "offset", "block", "page_offset", "kind", "bytes"}
        assert page["channel"] in (0, 1) if "multifd-" in page["kind"] else \
            page["channel"] == "main"
    wanted = {}
    for block in said["blocks"]:
        for kind, n in block["pages"].items():
            wanted[kind] = wanted.get(kind, 0) + n
    assert kinds == wanted
    lines = ferry("inspect", "--pages", *files(name)).stdout.splitlines()
    assert [line for line in lines[:len(pages)] if " 0x" not in line] == []
    assert lines[len(pages)].startswith(files(name)[0])


@pytest.mark.parametrize("name", NAMES)
def test_people_read_the_same_facts(name):
    text = ferry("inspect", "--hash", *files(name)).stdout
    for block in expected(name)["blocks"]:
        assert block["name"] in text and f"sha256 {block['sha256']}" in text
    assert f"machine        {expected(name)['machine']}\n" in text
    assert "guest          running\n" in text and ", whole\n" in text
    for device in expected(name)["devices"]:
        assert any(line.split()[1:2] == ["FULL"] and line.endswith(" " + device["idstr"])
                   for line in text.splitlines()), device


@pytest.mark.parametrize("name", MULTIFD)
def test_a_channel_alone_is_summed_up(name):
    together = hashed(name)["multifd"]["channels"]
    for i, path in enumerate(files(name)[1:]):
        alone = inspect(path)
        assert alone["kind"] == "channels" and alone["multifd"]["channels"] == [together[i]]
        assert alone["multifd"]["method"] == expected(name)["parameters"]["multifd-compression"]
        assert "sync_mode" not in alone["multifd"] and "file" not in alone
        assert sum(sum(b["pages"].values()) for b in alone["blocks"]) == \
               together[i]["normal_pages"] + together[i]["zero_pages"]


@pytest.mark.parametrize("name", MULTIFD)
def test_main_without_its_channels_says_so(name):
    [note] = inspect("--hash", files(name)[0])["notes"]
    if expected(name)["qemu"].startswith("7."):  # nothing on main tells of channels
        assert "no page has content" in note
    else:
        assert "no channel was given" in note and "hashes" in note
