"""ferry and its verbs: help, names that are not built yet, mistakes."""
import pytest

from ferry_program import ferry

BUILT = ["demo", "check", "status", "set", "cancel", "continue", "resolve", "receive",
         "send", "inspect", "record", "replay", "simulate", "report", "bound", "convert",
         "predict"]
NOT_BUILT = ["dirty-rate", "attach", "relay", "rehearse"]


def test_help_lists_the_verbs_that_are_built_and_no_others():
    done = ferry("--help")
    assert done.returncode == 0 and done.stderr == ""
    listed = [line.split()[0] for line in done.stdout.split("Verbs:\n")[1].split("\n\n")[0]
              .splitlines()]
    assert listed == BUILT


def test_version():
    done = ferry("--version")
    assert done.returncode == 0
    assert done.stdout.split()[0] == "ferry" and done.stdout.split()[1].count(".") == 2


@pytest.mark.parametrize("verb", BUILT)
def test_every_verb_explains_itself(verb):
    done = ferry(verb, "--help")
    assert done.returncode == 0
    assert f"ferry {verb}" in done.stdout
    assert "--json" in done.stdout or verb == "convert"  # whose result is the file


@pytest.mark.parametrize("verb", NOT_BUILT)
def test_a_verb_that_is_not_built_yet_is_refused_by_name(verb):
    done = ferry(verb, "--whatever")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"ferry: '{verb}' is not built yet (this is ferry 0.")


@pytest.mark.parametrize("wrong, meant", [("stauts", "status"), ("cancle", "cancel"),
                                          ("demos", "demo"), ("Check", "check"),
                                          ("migrate", "simulate")])
def test_an_unknown_verb_gets_a_suggestion(wrong, meant):
    done = ferry(wrong)
    assert done.returncode == 2 and done.stdout == ""
    assert f"there is no verb '{wrong}'" in done.stderr and f"'{meant}'" in done.stderr


@pytest.mark.parametrize("words", [
    [],
    ["demo", "--no-such-option"],
    ["demo", "word"],
    ["demo", "--memory", "12MB"],
    ["demo", "--memory", "1M"],
    ["demo", "--memory", "33554433"],
    ["demo", "--smp", "0"],
    ["demo", "--smp", "5"],
    ["demo", "--smp", "two"],
    ["demo", "--bandwidth", "fast"],
    ["demo", "--downtime-limit", "1h"],
    ["demo", "--timeout", "0"],
    ["demo", "--transport", "rdma"],
    ["demo", "--accel", "tcg"],
    ["check", "word"],
    ["status"],
    ["status", "--qmp", "here"],
    ["status", "--qmp", "exec:true"],
    ["status", "--qmp", "unix:/nowhere", "--timeout", "0"],
    ["status", "--qmp", "unix:/nowhere", "--interval", "0"],
    ["set", "--qmp", "unix:/nowhere", "max-bandwidth"],
    ["set", "--qmp", "unix:/nowhere", "max-bandwidth", "1", "2"],
    ["cancel"],
    ["continue"],
    ["resolve", "--qmp", "unix:/nowhere"],
    ["resolve", "--qmp", "unix:/nowhere", "--owner", "me"],
], ids=" ".join)
def test_a_mistake_in_the_words_is_exit_2_and_says_what(words):
    done = ferry(*words)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("ferry") and len(done.stderr) > 20
