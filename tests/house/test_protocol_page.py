"""docs/protocol.md quotes refusals: they are what the code says."""
import functools
import glob
import os
import re

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LITERAL = re.compile(r'(?:"(?:[^"\\]|\\.)*"|\b(?:PRI[a-zA-Z]\d+|G_\w+_(?:FORMAT|MODIFIER))\b|\s)+')
CONVERSION = re.compile(r"%[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z|j)?[a-zA-Z]")


@functools.cache
def messages():
    """Every piece of text in the code, as an expression that fits what it prints."""
    found = set()
    for room in ("protocol", "transport", "engine", "tools"):
        for path in glob.glob(os.path.join(ROOT, room, "**", "*.c"), recursive=True):
            with open(path, encoding="utf-8") as f:
                source = f.read()
            for literals in LITERAL.findall(source):
                text = "".join(part[1:-1] if part[0] == '"' else "d"
                               for part in re.findall(r'"(?:[^"\\]|\\.)*"|\w+', literals))
                constant = CONVERSION.sub("", text)
                if len(constant) > 12:
                    found.add(".+".join(map(re.escape, CONVERSION.split(text))))
    return found


def quoted():
    with open(os.path.join(ROOT, "docs", "protocol.md"), encoding="utf-8") as f:
        refused = f.read().split("\n## Refused, by name\n")[1].split("\n## ")[0]
    return re.findall(r"^\| [^|]+ \| `([^`]+)` \|$", refused, re.M)


@pytest.mark.parametrize("words", quoted())
def test_a_refusal_has_these_words(words):
    assert any(re.fullmatch(message, words) for message in messages())


def test_refusals_are_quoted():
    assert len(quoted()) > 15
