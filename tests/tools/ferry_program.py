"""Runs `ferry` as a user would."""
import os
import subprocess

FERRY = os.path.join(os.environ["FERRY_BUILD"], "tools", "ferry")


def ferry(*words, **more):
    """The finished process: returncode, stdout, stderr as text."""
    return subprocess.run([FERRY, *words], capture_output=True, text=True, timeout=100,
                          stdin=subprocess.DEVNULL, check=False, **more)
