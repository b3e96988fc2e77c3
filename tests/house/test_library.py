"""What an embedder gets: the exported names, headers that stand alone, an installed copy."""
import os
import re
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ["FERRY_BUILD"]
HERE = os.path.join(ROOT, "tests", "house")


def output(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stderr}"
    return done.stdout


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as f:
        return f.read()


def public_headers(header="engine/ferry.h", seen=None):
    seen = [] if seen is None else seen
    if header not in seen:
        seen.append(header)
        for below in re.findall(r'^#include "([^"]+)"', read(header), re.M):
            public_headers(below, seen)
    return seen


def declared():
    """Functions and objects that the public headers declare."""
    names = set()
    for header in public_headers():
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", read(header), flags=re.S)
        text = re.sub(r"^#.*?(?<!\\)$", "", text, flags=re.S | re.M)
        text = re.sub(r"static inline .*?\n}", "", text, flags=re.S)
        text = re.sub(r"G_DEFINE_\w+\([^)]*\)", "", text)
        names |= set(re.findall(r"\b(ferry_\w+)\s*\(", text))
        names |= set(re.findall(r"^extern [^;(]*?\b(ferry_\w+);", text, re.M))
    return names


def ledger():
    return set(re.findall(r"\b(ferry_\w+);", read("engine/ferry.syms")))


def test_ledger_is_what_the_headers_declare():
    assert sorted(ledger() ^ declared()) == []


def test_library_exports_the_ledger():
    lines = output("nm", "-D", "--defined-only", os.path.join(BUILD, "engine/libferry.so.0"))
    exported = {line.split()[-1].split("@")[0] for line in lines.splitlines()}
    assert sorted((exported - {"FERRY_0.1"}) ^ ledger()) == []


@pytest.mark.parametrize("compiler, options, source", [
    ("gcc", "-std=c99 -pedantic-errors", "compile-header-only.c"),
    ("gcc", "-std=c11 -pedantic-errors", "compile-header-only.c"),
    ("clang", "-std=c99 -pedantic-errors", "compile-header-only.c"),
    ("g++", "-std=c++11", "compile-header-only.cc"),
    ("clang++", "-std=c++17", "compile-header-only.cc"),
])
def test_header_alone_compiles(compiler, options, source):
    glib = output("pkg-config", "--cflags", "glib-2.0").split()
    system = [flag.replace("-I", "-isystem") for flag in glib]
    output(compiler, *options.split(), "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
           f"-I{ROOT}", *system, os.path.join(HERE, source))


@pytest.mark.parametrize("header", public_headers())
def test_each_public_header_compiles_first(header, tmp_path):
    source = tmp_path / "first.c"
    source.write_text(f'#include "{header}"\n')
    output("gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{ROOT}",
           *output("pkg-config", "--cflags", "glib-2.0").split(), str(source))


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_installed_copy_builds_and_runs_the_example(static, tmp_path):
    dest = str(tmp_path / "dest")
    output("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", dest)
    [pc] = output("find", dest, "-name", "ferry.pc").split()
    with open(pc, encoding="utf-8") as f:
        moved = re.sub(r"^prefix=", "prefix=" + dest, f.read(), flags=re.M)
    with open(pc, "w", encoding="utf-8") as f:
        f.write(moved)
    libraries = os.path.dirname(os.path.dirname(pc))
    flags = output("pkg-config", "--cflags", "--libs", *(["--static"] if static else []), "ferry",
                   env=dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(pc))).split()
    if static:
        flags = [os.path.join(libraries, "libferry.a") if f == "-lferry" else f for f in flags]
    program = str(tmp_path / "embed")
    output("gcc", "-std=gnu11", os.path.join(ROOT, "docs/examples/embed.c"), "-o", program, *flags)
    assert "moved" in output(program, env=dict(os.environ, LD_LIBRARY_PATH=libraries))
