"""Runs pytest and says each test as a line of TAP, so that meson counts them one by one.

usage: tap.py FILE [PYTEST-OPTION...]
"""
import os
import sys

import pytest


class Tap:
    def __init__(self, out):
        self.out = out
        self.count = 0

    def line(self, good, name, skipped=None):
        self.count += 1
        words = f" # SKIP {skipped}" if skipped is not None else ""
        name = name.split("/")[-1].replace("#", "")
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}{words}", file=self.out,
              flush=True)

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.line(False, f"{report.nodeid} ({report.when})")
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.line(True, report.nodeid, " ".join(reason.replace("Skipped: ", "").split()))
        elif report.when == "call":
            self.line(True, report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed:
            self.line(False, f"{report.nodeid} (collecting)")


def main(arguments):
    tap = Tap(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # pytest's own words go to stderr
    status = pytest.main(["-p", "no:cacheprovider", "-q", *arguments], plugins=[tap])
    if tap.count == 0:
        print("Bail out! no tests", file=tap.out)
    print(f"1..{tap.count}", file=tap.out, flush=True)
    return 1 if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
