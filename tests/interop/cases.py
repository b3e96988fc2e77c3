"""Which cases run: FERRY_FULL=1 means all of them; otherwise those that a test names as brief."""
import os

import pytest

import qemu

FULL = os.environ.get("FERRY_FULL") == "1"
INSTALLED = qemu.Program(os.environ.get("QEMU", "qemu-system-x86_64"))
NEWER = qemu.Program(os.environ["QEMU_NEWER"]) if "QEMU_NEWER" in os.environ else None
# Source and destination.
PAIRS = ([(NEWER, NEWER), (INSTALLED, NEWER), (NEWER, INSTALLED)] if NEWER
         else [(INSTALLED, INSTALLED)])


def machine_of(*programs):
    """The newest machine type that all of @programs have."""
    return min(programs, key=lambda program: program.version).machine


def spelled(value):
    """A value in the name of a test."""
    if isinstance(value, tuple):
        return "-to-".join(spelled(one) for one in value)
    if isinstance(value, qemu.Program):
        return value.label
    return value.name if isinstance(value, qemu.Method) else str(value)


def rows(names, everything, brief):
    """Parametrises a test by @everything, a list of tuples; without FERRY_FULL by those of which
    brief(...) is true. tests/soak runs everything."""
    params = [pytest.param(*row, id="-".join(spelled(value) for value in row))
              for row in everything if FULL or brief(*row)]
    return pytest.mark.parametrize(names, params)
