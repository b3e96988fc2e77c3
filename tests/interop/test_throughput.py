"""bench/throughput runs and says what it promises; what it measures is nobody's to assert."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "system"))
import harness  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_every_contender_is_measured_and_compared():
    done = subprocess.run(
        [os.path.join(ROOT, "bench", "throughput"), "--json", "--build", harness.BUILD, "--mib", "32",
         "--pairs", "1", "--content", "mixed", "--way", "zstd"],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["congestion_control"]
    assert {line["what"] for line in lines if line["case"] == "libzstd"} == {"compress", "both"}
    summaries = {line["case"]: line for line in lines if line.get("summary")}
    qemu = next(name for name in summaries if name.startswith("qemu") and "ferry" not in name)
    version = qemu.split()[1].split("->")[0]
    assert {"ferry->ferry", f"ferry->qemu {version}", f"qemu {version}->ferry",
            f"qemu {version}->qemu {version}", "copy (reno)"} <= set(summaries)
    ours = summaries["ferry->ferry"]
    assert ours["wall_to_qemu"]["than"] == qemu
    assert 0 < ours["wire_bytes"] < 24 << 20, "half of 24 MiB shrinks"
    assert ours["wall_to_copy"]["median"] > 0 and ours["rate_to_library"]["both"] > 0
    assert {line["case"] for line in lines if "pair" in line} == set(summaries)
