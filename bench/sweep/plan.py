#!/usr/bin/python3
"""A sweep cut into chunks, each one call of `ferry simulate`, and their results put together.

    plan.py SWEEP-LINE CHUNK.jsonl...      prints one file
"""
import itertools
import json
import shlex
import sys

# These have commas of their own: they are given once for each value.
REPEATED = ("trace", "workload", "link-change")


def words(value):
    """A list of texts, as options take them; YAML's on and off are truths."""
    values = value if isinstance(value, list) else [value]
    return [("off", "on")[v] if isinstance(v, bool) else str(v) for v in values]


def parameters(config):
    """Options in the order of the file, each with its values."""
    found = {name: words(value) for name, value in (config.get("simulate") or {}).items()}
    if not {"trace", "workload"} & set(found):
        raise SystemExit("config: simulate has neither a trace nor a workload")
    for name, values in found.items():
        if not values:
            raise SystemExit(f"config: simulate: {name} has no value")
    return found


def options(chosen, flags):
    """@chosen as arguments."""
    arguments = []
    for name, values in chosen.items():
        for value in values if name in REPEATED else [",".join(values)]:
            arguments += [f"--{name}", value]
    return arguments + [f"--{flag}" for flag in flags]


def flags_of(config):
    return [str(flag) for flag in config.get("flags") or []]


def chunks(config):
    """Name to arguments, in order; names are numbers, so that nothing in a value is a path."""
    found, split = parameters(config), config.get("split") or []
    for name in split:
        if name not in found:
            raise SystemExit(f"config: split names {name}, which simulate has not")
    some = [name for name in found if name in split]
    combinations = list(itertools.product(*(found[name] for name in some)))
    digits = len(str(len(combinations)))
    return {f"{number:0{digits}}":
            options({**found, **{name: [value] for name, value in zip(some, values)}},
                    flags_of(config))
            for number, values in enumerate(combinations, 1)}


def traces(arguments):
    return [value for name, value in zip(arguments, arguments[1:]) if name == "--trace"]


def shell(arguments):
    """For a shell, behind Snakemake's own braces."""
    return shlex.join(arguments)


def sweep_line(config):
    """What a single `ferry simulate` of it all would say first."""
    found = parameters(config)
    runs = int(found.get("runs", ["1"])[0])
    for name, values in found.items():
        runs *= len(values)
    return json.dumps({"type": "sweep",
                       "command": ["ferry", "simulate", *options(found, flags_of(config))],
                       "varied": {name: values for name, values in found.items()
                                  if len(values) > 1},
                       "runs": runs}, separators=(",", ":"))


def merge(sweep, paths, out):
    """All lines, the chunks' own sweep lines excepted; a run that is there twice is refused."""
    seen = {}
    print(sweep, file=out)
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                value = json.loads(line)
                if value["type"] == "sweep":
                    continue
                if value["type"] == "run" and seen.setdefault(value["id"], path) != path:
                    raise SystemExit(f"{path}: run {value['id']} is in {seen[value['id']]} too")
                out.write(line)
    missing = json.loads(sweep)["runs"] - len(seen)
    if missing:
        raise SystemExit(f"{missing} runs are missing")


if __name__ == "__main__":
    merge(sys.argv[1], sys.argv[2:], sys.stdout)
