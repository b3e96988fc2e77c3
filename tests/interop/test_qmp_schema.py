"""The monitor beside a real QEMU's: the same questions, answers of the same shape."""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
MONITOR = os.path.join(os.environ["FERRY_BUILD"], "tests", "interop", "interop-monitor")
PATIENCE = 60

# What QEMU 7.2 lists and 9.1 removed: taken with its default, not listed.
REMOVED = {"compress-level", "compress-threads", "decompress-threads", "compress-wait-thread",
           "block-incremental"}
ENDED = {"completed", "failed", "cancelled"}

pytestmark = pytest.mark.skipif(not shutil.which(QEMU), reason=f"{QEMU} is not installed")


class Monitor:
    def __init__(self, command, path):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self.greeting = json.loads(self.lines.readline())

    def send(self, text):
        """The answer to one request, whatever it is."""
        self.socket.sendall(text.encode() if isinstance(text, str) else text)
        while True:
            answer = json.loads(self.lines.readline())
            if "event" not in answer:
                return answer

    def ask(self, command, **arguments):
        names = {name.replace("_", "-"): value for name, value in arguments.items()}
        return self.send(json.dumps({"execute": command, "arguments": names}))

    def close(self):
        self.socket.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def both():
    with tempfile.TemporaryDirectory() as directory:
        theirs, ours = os.path.join(directory, "qemu"), os.path.join(directory, "ferry")
        monitors = [Monitor([QEMU, "-M", "none", "-accel", "tcg", "-S", "-display", "none",
                             "-nodefaults", "-qmp", f"unix:{theirs},server=on,wait=off"], theirs),
                    Monitor([MONITOR, ours], ours)]
        yield monitors
        for monitor in monitors:
            monitor.close()


@pytest.fixture
def ready(both):
    for monitor in both:
        assert monitor.ask("qmp_capabilities") == {"return": {}}
    return both


def shape(value):
    """Names and JSON types, without the values."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if type(value) in (int, float) else type(value).__name__


def contains(ours, theirs, where=""):
    """Everything of @theirs is in @ours, with its type."""
    if not isinstance(theirs, dict):
        assert ours == theirs, where
        return
    for name in theirs:
        assert name in ours, f"{where}.{name}"
        contains(ours[name], theirs[name], f"{where}.{name}")


def test_greeting(both):
    theirs, ours = (monitor.greeting for monitor in both)
    version = ours["QMP"]["version"]["qemu"]
    assert shape(ours["QMP"]["version"]) == shape(theirs["QMP"]["version"])
    assert isinstance(ours["QMP"]["capabilities"], list)
    assert (version["major"], version["minor"], version["micro"]) == (10, 0, 0)


def test_capabilities_first(both):
    for request in ['{"execute": "query-status"}', '{"execute": "no-such-command"}']:
        theirs, ours = (monitor.send(request) for monitor in both)
        assert ours == theirs
    theirs, ours = (monitor.send('{"execute": "qmp_capabilities", "id": [1]}') for monitor in both)
    assert ours == theirs
    theirs, ours = (monitor.send('{"execute": "qmp_capabilities"}') for monitor in both)
    assert ours == theirs


@pytest.mark.parametrize("request_text", [
    "[]", "{}", '{"a": 1}', '{"execute": 3}', '{"execute": "stop", "arguments": []}',
    '{"execute": "no-such-command", "id": {"x": null}}', '{"execute": "migrate"}',
    '{"execute": "migrate", "arguments": {"uri": 3}}',
    '{"execute": "migrate-set-parameters", "arguments": {"no-such": 3}}',
    '{"execute": "migrate-set-capabilities", "arguments": {"capabilities": '
    '[{"capability": "no-such", "state": true}]}}',
    '{"execute": "migrate-continue"}',
])
def test_refusals_in_the_same_words(ready, request_text):
    theirs, ours = (monitor.send(request_text) for monitor in ready)
    assert ours == theirs


@pytest.mark.parametrize("request_text", [
    '{"execute": "migrate", "arguments": {"uri": "bad"}}',
    '{"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": "1"}}',
    '{"execute": "migrate-continue", "arguments": {"state": "pre-switchover"}}',
    '{"execute": "migrate-incoming", "arguments": {"uri": "tcp:0:0"}}',
    '{"execute": }',
])
def test_refusals_of_the_same_class(ready, request_text):
    theirs, ours = (monitor.send(request_text)["error"]["class"] for monitor in ready)
    assert ours == theirs


def test_garbage_does_not_end_the_conversation(ready):
    for monitor in ready:
        assert monitor.send("]")["error"]["class"] == "GenericError"
        assert "return" in monitor.send("{'execute': 'query-name'}")


def test_parameters_have_their_names_types_and_defaults(ready):
    theirs, ours = (monitor.ask("query-migrate-parameters")["return"] for monitor in ready)
    assert set(theirs) - set(ours) <= REMOVED
    for name in set(theirs) & set(ours):
        assert ours[name] == theirs[name] and type(ours[name]) is type(theirs[name]), name


@pytest.mark.parametrize("name, value", [
    ("max-bandwidth", 0), ("max-bandwidth", 1 << 40), ("downtime-limit", 0),
    ("downtime-limit", 2000000), ("downtime-limit", 2000001), ("cpu-throttle-initial", 0),
    ("cpu-throttle-initial", 1), ("cpu-throttle-initial", 99), ("cpu-throttle-initial", 100),
    ("cpu-throttle-increment", 0), ("cpu-throttle-increment", 99), ("max-cpu-throttle", 19),
    ("max-cpu-throttle", 20), ("max-cpu-throttle", 100), ("throttle-trigger-threshold", 0),
    ("throttle-trigger-threshold", 100), ("throttle-trigger-threshold", 101),
    ("compress-level", 1), ("tls-creds", ""), ("downtime-limit", "300"), ("tls-creds", 1),
])
def test_parameters_have_their_ranges(ready, name, value):
    theirs, ours = ("return" in monitor.ask("migrate-set-parameters", **{name: value})
                    for monitor in ready)
    assert ours == theirs


def test_capabilities_have_their_names_and_defaults(ready):
    theirs, ours = ({one["capability"]: one["state"]
                     for one in monitor.ask("query-migrate-capabilities")["return"]}
                    for monitor in ready)
    assert set(theirs) <= set(ours)
    assert {name for name in theirs if ours[name] != theirs[name]} == {"return-path"}


def test_commands_are_theirs(ready):
    theirs, ours = ({one["name"] for one in monitor.ask("query-commands")["return"]}
                    for monitor in ready)
    assert {name for name in ours - theirs if not name.startswith("x-ferry-")} == set()


def test_small_answers(ready):
    for command in ["query-name", "query-uuid", "query-migrate", "stop", "cont"]:
        theirs, ours = (monitor.ask(command) for monitor in ready)
        assert ours == theirs, command
    theirs, ours = (monitor.ask("query-status")["return"] for monitor in ready)
    theirs.pop("singlestep", None)  # removed in 9.0
    assert shape(ours) == shape(theirs)


def migrated(monitor, uri):
    assert monitor.ask("migrate", uri=uri) == {"return": {}}
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = monitor.ask("query-migrate")["return"]
        if answer["status"] in ENDED:
            return answer
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("capabilities", [[], ["xbzrle"], ["compress"], ["xbzrle", "compress"]],
                         ids="-".join)
def test_a_migration_is_told_with_their_keys(ready, capabilities):
    for monitor in ready:
        states = [{"capability": name, "state": True} for name in capabilities]
        answer = monitor.ask("migrate-set-capabilities", capabilities=states)
        if "compress" in capabilities and "error" in answer and monitor is ready[0]:
            pytest.skip("this QEMU has no compress any more")
        assert answer == {"return": {}}
    theirs, ours = (migrated(monitor, "exec:cat >/dev/null") for monitor in ready)
    assert ours["status"] == theirs["status"] == "completed"
    contains(shape(ours), shape(theirs))


def test_a_failure_is_told_with_their_keys(ready):
    theirs, ours = (migrated(monitor, "unix:/no/such/socket") for monitor in ready)
    assert ours["status"] == theirs["status"] == "failed"
    contains(shape(ours), shape(theirs))
