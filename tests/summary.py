"""Adds up the results of several build directories; the last line is the sum.

usage: summary.py BUILD-DIRECTORY...

A build directory without a log counts as one failure: it did not build. A program that ends badly
although every one of its subtests passed counts as one more failure.
"""
import glob
import json
import os
import sys
import xml.etree.ElementTree as ElementTree

BAD = ("FAIL", "ERROR", "TIMEOUT", "INTERRUPT", "UNEXPECTEDPASS")


def programs(directory):
    """Name and meson's verdict of every program that ran."""
    for log in glob.glob(os.path.join(directory, "meson-logs", "testlog*.json")):
        with open(log, encoding="utf-8") as lines:
            for line in lines:
                test = json.loads(line)
                yield test["name"], test["result"]


def subtests(directory):
    """(program or project, name, outcome, words) of every case in the JUnit log."""
    for log in glob.glob(os.path.join(directory, "meson-logs", "testlog*.junit.xml")):
        for case in ElementTree.parse(log).getroot().iter("testcase"):
            outcome = "passed"
            if case.find("skipped") is not None:
                outcome = "skipped"
            elif case.find("failure") is not None or case.find("error") is not None:
                outcome = "failed"
            yield case.get("classname"), case.get("name"), outcome, case.findtext("system-out")


def tally(directory):
    """Outcomes of one build directory, as lists of names."""
    build = os.path.basename(directory)
    found = {"passed": [], "failed": [], "skipped": []}
    verdicts = dict(programs(directory))
    seen_failing = set()
    for group, name, outcome, words in subtests(directory):
        program = group.split(".", 1)[1] if "." in group else name  # a subtest's group names both
        if program == name and verdicts.get(program) in BAD:
            outcome = "failed"  # the JUnit log forgets that a whole program timed out
        if outcome == "failed":
            seen_failing.add(program)
        why = f" ({words.strip()})" if words and outcome == "skipped" and program != name else ""
        what = program if program == name else f"{program}: {name}"
        found[outcome].append(f"{build}: {what}{why}")
    if not any(found.values()):
        found["failed"].append(f"{build}: did not build or run")
    for program, verdict in verdicts.items():
        if verdict in BAD and program not in seen_failing:
            found["failed"].append(f"{build}: {program} ended with {verdict}")
    return found


def main(directories):
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    for directory in directories:
        found = tally(directory)
        print(f"{os.path.basename(directory)}: "
              + ", ".join(f"{len(names)} {outcome}" for outcome, names in found.items()))
        for outcome in ("skipped", "failed"):
            for name in found[outcome]:
                print(f"  {outcome}: {name}")
        for outcome, names in found.items():
            totals[outcome] += len(names)
    print(f"total: {sum(totals.values())}")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**totals))
    return 1 if totals["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
