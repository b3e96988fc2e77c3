"""Running processes and commands as ferry record puts them down: the pages that they write and no
others, and they go on unharmed however the recording ends."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest

import harness

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs",
                                "examples"))
import pdt

FERRY = os.path.join(harness.BUILD, "tools", "ferry")
RECORDED = os.path.join(harness.BUILD, "tests", "system", "recorded")
PAGE = 4096
WAITS = ["spin", "sleep", "poll", "epoll", "read"]


class Program:
    """tests/system/recorded.c, which checks itself."""

    def __init__(self, directory, wait, pages=8000, rate=8000):
        self.state_file = os.path.join(directory, "state")
        self.process = subprocess.Popen(self.command(self.state_file, wait, pages, rate),
                                        stdout=subprocess.PIPE, text=True,
                                        preexec_fn=harness.die_with_parent)
        assert self.process.stdout.readline() == "ready\n"
        self.pid = self.process.pid

    @staticmethod
    def command(state_file, wait, pages, rate):
        return [RECORDED, state_file, str(pages), str(rate), wait]

    def state(self):
        with open(self.state_file, "rb") as f:
            data = f.read(40)
        names = ["memory", "pages", "writes", "waits", "wrong"]
        return {n: int.from_bytes(data[8 * i:8 * i + 8], "little") for i, n in enumerate(names)}

    def unharmed(self):
        """It writes on and waits on, and nothing of the recording is left in it."""
        then = self.state()
        harness.until(lambda: self.process.poll() is not None
                      or (self.state()["writes"] > then["writes"] + 100
                          and self.state()["waits"] > then["waits"]), "progress")
        assert self.process.poll() is None and self.state()["wrong"] == 0
        assert untouched(self.pid)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.terminate()
        assert self.process.wait() == 0
        self.process.stdout.close()


def read(*path):
    with open(os.path.join("/proc", *path), encoding="utf-8", errors="replace") as f:
        return f.read()


def untouched(pid):
    tasks = f"/proc/{pid}/task"
    assert all("\nTracerPid:\t0\n" in read(str(pid), "task", task, "status")
               for task in os.listdir(tasks))
    fds = f"/proc/{pid}/fd"
    assert not [fd for fd in os.listdir(fds) if "userfaultfd" in os.readlink(f"{fds}/{fd}")]
    flags = [line.split() for line in read(str(pid), "smaps").splitlines()
             if line.startswith("VmFlags")]
    assert flags and not [f for f in flags if "uw" in f]
    return True


def start(directory, *arguments, **more):
    return subprocess.Popen([FERRY, "record", "-o", os.path.join(directory, "t.pdt"), "--json",
                             *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, preexec_fn=harness.die_with_parent, **more)


def finish(recorder, status=0):
    out, err = recorder.communicate(timeout=harness.PATIENCE)
    assert recorder.returncode == status, err
    return json.loads(out.splitlines()[-1]) if status == 0 else err


def record(directory, *arguments, status=0):
    return finish(start(directory, *arguments), status)


def trace_of(directory):
    path = os.path.join(directory, "t.pdt")
    assert not os.path.exists(path + ".part")
    trace = pdt.Trace(path)
    trace.list = list(trace.frames())
    for frame in trace.list:
        frame["set"] = sorted(pdt.pages_of(frame["runs"]))
    assert trace.ended
    return trace


def blocks(trace):
    """(name, number of the first page, pages) of each."""
    first, found = 0, []
    for block in trace.blocks:
        found.append((block["name"], first, block["pages"]))
        first += block["pages"]
    return found


def counts(trace, first, pages):
    """In how many frames each page of a range is."""
    times = [0] * pages
    for frame in trace.list:
        for page in frame["set"]:
            if first <= page < first + pages:
                times[page - first] += 1
    return times


def each_in_turn(times, n_frames):
    """Pages that were written in turn have been in as many frames as the others, or one more. A
    frame may end when the kernel has let a write happen and the processor has not done it yet; then
    that page is in the next one as well."""
    return min(times) >= 1 and sum(max(t - min(times) - 1, 0) for t in times) <= n_frames


def find_set(trace, state):
    """The number of the first page of the program's set."""
    for name, first, pages in blocks(trace):
        at = int(name.split()[-1], 16) if name.startswith("anon ") else 0
        if at <= state["memory"] < at + pages * PAGE:
            return first + (state["memory"] - at) // PAGE
    raise AssertionError("its set is in no block")


@pytest.fixture(scope="module", autouse=True)
def can_record(tmp_path_factory):
    """A kernel without PAGEMAP_SCAN, or a sandbox without ptrace, cannot."""
    directory = str(tmp_path_factory.mktemp("can"))
    tried = start(directory, "--", "true")
    _, err = tried.communicate(timeout=harness.PATIENCE)
    if tried.returncode and ("PAGEMAP_SCAN" in err or "WP_ASYNC" in err or "not permitted" in err):
        pytest.skip(err.strip())


@pytest.mark.parametrize("wait", WAITS)
def test_every_write_is_in_one_frame_and_the_program_goes_on(directory, wait):
    with Program(directory, wait) as program:
        told = record(directory, "--pid", program.pid, "--interval", "50ms", "--duration", "1400ms",
                      "--baseline", "50ms")
        program.unharmed()
        state = program.state()
    trace = trace_of(directory)
    times = counts(trace, find_set(trace, state), state["pages"])
    assert each_in_turn(times, len(trace.list))
    assert told["frames"] == len(trace.list) == trace.totals["frames"]
    assert told["pages_written"] == sum(f["pages"] for f in trace.list)
    assert trace.header["method"] == "pagemap-scan" and trace.totals["ended"] == "done"
    assert told["late_frames"] >= 0 and told["capture_ns_per_frame"] > 0


def test_killed_at_any_moment_it_leaves_nothing_behind(directory, rng, count):
    with Program(directory, rng.choice(WAITS), pages=2000, rate=100000) as program:
        for _ in range(count(200)):
            recorder = start(directory, "--pid", program.pid, "--baseline", 0, "--interval", "2ms")
            time.sleep(rng.uniform(0, 0.03))
            recorder.kill()
            recorder.communicate()
            assert program.process.poll() is None
        program.unharmed()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_recording_and_the_trace_is_whole(directory, number):
    with Program(directory, "epoll") as program:
        recorder = start(directory, "--pid", program.pid, "--baseline", 0, "--interval", "10ms")
        harness.until(lambda: os.path.exists(directory + "/t.pdt.part"), "a beginning")
        time.sleep(0.1)
        recorder.send_signal(number)
        assert finish(recorder)["ended"] == "interrupted"
        program.unharmed()
    assert trace_of(directory).totals["ended"] == "interrupted"


def test_a_process_that_ends_is_told_of(directory):
    with Program(directory, "sleep") as program:
        recorder = start(directory, "--pid", program.pid, "--baseline", 0, "--interval", "10ms")
        harness.until(lambda: os.path.exists(directory + "/t.pdt.part"), "a beginning")
        time.sleep(0.05)
        program.process.terminate()
        assert finish(recorder)["ended"] == "guest-gone"
    assert trace_of(directory).totals["ended"] == "guest-gone"


def test_a_stopped_process_stays_stopped(directory):
    with Program(directory, "read") as program:
        os.kill(program.pid, signal.SIGSTOP)
        harness.until(lambda: "State:\tT" in read(str(program.pid), "status"), "a stop")
        record(directory, "--pid", program.pid, "--baseline", 0, "--duration", "100ms")
        assert "State:\tT" in read(str(program.pid), "status")
        os.kill(program.pid, signal.SIGCONT)
        program.unharmed()
    assert sum(f["pages"] for f in trace_of(directory).list) == 0


def test_content_is_classed(directory):
    with Program(directory, "sleep", pages=500) as program:
        record(directory, "--pid", program.pid, "--baseline", 0, "--duration", "200ms", "--content")
        state = program.state()
    trace = trace_of(directory)
    first = find_set(trace, state)
    frame = max(trace.list, key=lambda f: f["pages"])
    classes = dict(zip(frame["set"], frame["classes"]))
    assert {classes[p] for p in frame["set"] if first <= p < first + state["pages"]} == {2}


def test_only_the_mappings_that_are_asked_for(directory):
    with Program(directory, "sleep", pages=8000) as program:
        record(directory, "--pid", program.pid, "--baseline", 0, "--duration", "100ms",
               "--min-mapping", "16M", "--name-filter", "anon*")
        found = blocks(trace_of(directory))
        assert found and all(n.startswith("anon ") and p >= 4096 for n, _, p in found)
        record(directory, "--pid", program.pid, "--baseline", 0, "--duration", "100ms",
               "--name-filter", "?stack?")
        assert {n.split()[0] for n, _, _ in blocks(trace_of(directory))} == {"[stack]"}


def test_refusals_say_why(directory):
    assert "no process" in record(directory, "--pid", 4194304, "--baseline", 0, status=1)
    assert "no mapping" in record(directory, "--pid", os.getpid(), "--name-filter", "nothing",
                                  "--baseline", 0, status=1)
    assert "no memory" in record(directory, "--pid", 2, "--baseline", 0, status=1)
    assert "only one" in record(directory, "--pid", 1, "--", "true", status=2)
    assert "needed" in record(directory, status=2)
    assert "cannot be started: No such file" in record(directory, "--", "./nothing", status=1)
    with Program(directory, "sleep") as program:
        first = start(directory, "--pid", program.pid, "--baseline", 0)
        harness.until(lambda: os.path.exists(directory + "/t.pdt.part"), "a beginning")
        os.mkdir(directory + "/second")
        err = record(directory + "/second", "--pid", program.pid, "--baseline", 0, status=1)
        assert "another userfaultfd" in err
        first.send_signal(signal.SIGINT)
        finish(first)
        program.unharmed()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root, to be somebody else")
def test_somebody_elses_process_is_refused(directory):
    os.chmod(directory, 0o777)
    with Program(directory, "sleep") as program:
        recorder = start(directory, "--pid", program.pid, "--baseline", 0, user=65534, group=65534,
                         extra_groups=[])
        assert "not permitted" in finish(recorder, 1)
        program.unharmed()


# Commands.

def names(trace):
    """Of programs, by their blocks: without numbers."""
    return {name.split("[")[0] for name, _, _ in blocks(trace)}


def test_a_command_its_status_and_what_it_starts(directory):
    told = record(directory, "--interval", "5ms", "--", "sh", "-c", "/bin/ls / >/dev/null; exit 3")
    assert told["exit_status"] == 3 and told["ended"] == "done"
    assert told["processes"] >= 2 and told["untracked_processes"] == 0  # sh, ls, maybe a fork
    trace = trace_of(directory)
    assert names(trace) == {"sh", "ls"}
    assert trace.header["workload"].startswith("sh -c ")


def test_each_write_of_a_command_is_in_one_frame(directory):
    state_file = os.path.join(directory, "state")
    recorder = start(directory, "--interval", "50ms", "--",
                     *Program.command(state_file, "sleep", 8000, 8000))
    harness.until(lambda: os.path.exists(state_file) and os.path.getsize(state_file), "a beginning")
    time.sleep(1.4)
    recorder.terminate()  # which the command gets
    told = finish(recorder)
    assert told["exit_status"] == 0 and told["ended"] == "done"
    with open(state_file, "rb") as f:
        data = f.read(24)
    memory, pages, writes = (int.from_bytes(data[i:i + 8], "little") for i in (0, 8, 16))
    trace = trace_of(directory)
    for name, first, n in blocks(trace):
        at = int(name.split()[-1], 16) if " anon " in name else 0
        if at <= memory < at + n * PAGE:
            times = counts(trace, first + (memory - at) // PAGE, pages)
    # A frame may have both a write of the first turn and the one that filled the page.
    assert pages + 1000 <= sum(times) <= writes + len(trace.list)


def test_a_child_that_only_forks_has_a_memory_of_its_own(directory):
    told = record(directory, "--interval", "5ms", "--", sys.executable, "-c",
                  "import os\n"
                  "if os.fork() == 0:\n"
                  "    x = bytearray(4096 * 3000)\n"
                  "    os._exit(7)\n"
                  "assert os.waitstatus_to_exitcode(os.wait()[1]) == 7\n")
    assert told["exit_status"] == 0 and told["processes"] == 2
    assert told["pages_written"] >= 3000


def test_a_compiler_makes_the_same_as_without(directory):
    source, outputs = directory + "/a.c", [directory + "/1.o", directory + "/2.o"]
    with open(source, "w", encoding="ascii") as f:
        f.write("int f(int x) { return x * 42; }\n")
    compile_to = ["gcc", "-O2", "-c", source, "-o"]
    subprocess.run([*compile_to, outputs[0]], check=True)
    told = record(directory, "--interval", "10ms", "--", *compile_to, outputs[1])
    assert told["exit_status"] == 0
    assert {"gcc", "cc1", "as"} <= {n.replace("x86_64-linux-gnu-", "")
                                    for n in names(trace_of(directory))}
    assert len({open(o, "rb").read() for o in outputs}) == 1


def test_a_command_outlives_its_recorder(directory, rng, count):
    for i in range(count(100)):
        done = f"{directory}/done{i}"
        script = f"for i in 1 2 3 4 5 6 7 8; do /bin/true || exit 1; done; echo > {done}"
        os.mkdir(f"{directory}/{i}")
        recorder = start(f"{directory}/{i}", "--interval", "2ms", "--", "sh", "-c", script)
        time.sleep(rng.uniform(0, 0.06))
        began = os.listdir(f"{directory}/{i}")
        recorder.kill()
        recorder.communicate()
        if began:
            harness.until(lambda: os.path.exists(done), "the end of the command")


def test_a_recording_that_ends_first_leaves_the_command_alone(directory):
    state_file = os.path.join(directory, "state")
    quiet = ["sh", "-c", 'exec "$@" >/dev/null 2>&1', "sh"]
    recorder = start(directory, "--duration", "300ms", "--", *quiet,
                     *Program.command(state_file, "epoll", 500, 5000))
    told = finish(recorder)
    assert "exit_status" not in told
    pid = told["pid"]
    try:
        assert untouched(pid)
    finally:
        os.kill(pid, signal.SIGTERM)


def test_a_command_killed_by_a_signal_is_told(directory):
    told = record(directory, "--", "sh", "-c", "kill -9 $$")
    assert told["signal"] == 9
