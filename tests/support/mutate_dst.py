"""Reads damaged copies of a `.dst`, one after the other, and prints a JSON line for each: run in a process of its own.

Usage: python mutate_dst.py FILE COPY N
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
import sys
from pathlib import Path

import uproot

from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.events.dst import open_dst
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.events.run_table import Conditions, uniform

RUNS = uniform(Conditions(sqrt_s=3.097))
CHUNK = 1_000
# Bytes of address space: damage must not fill the memory.
MEMORY = 6 << 30


def digest(path):
    """Digest of every column of every event."""
    found = hashlib.sha256()
    with open_dst(str(path)) as dst:
        for start in range(0, dst.n_events, CHUNK):
            block = make_block(dst.read(start, min(start + CHUNK, dst.n_events), RUNS))
            for name in sorted(block.values):
                found.update(block.values[name].tobytes())
    return found.hexdigest()


def places(path):
    """Where keys and baskets, streamer info and the tree's own description are; and what no checksum protects."""
    with uproot.open(path) as file:
        branches = [b for b in file["Event"].itervalues(recursive=True) if b.num_baskets]
        spans = [
            (int(seek), int(size))
            for b in branches
            for seek, size in zip(b.member("fBasketSeek"), b.member("fBasketBytes"), strict=True)
            if size
        ]
        plain = [
            range(int(b.member("fBasketSeek")[0]), int(b.member("fBasketSeek")[0] + b.member("fBasketBytes")[0]))
            for b in branches
            if b.basket(0).uncompressed_bytes == b.basket(0).compressed_bytes
        ]
        tree = file.key("Event")
        others = {
            "streamer info": (int(file.file.fSeekInfo), int(file.file.fNbytesInfo)),
            "tree": (int(tree.fSeekKey), int(tree.fNbytes)),
            "beginning": (0, 300),
        }
    return spans, others, plain


def mutation(number, size, spans, others, plain):
    """Return kind, place and new bytes of a mutation; no bytes: the file ends there."""
    draw = random.Random(number)
    kind = ("key", "basket", "streamer info", "tree", "beginning", "anywhere", "end")[number % 7]
    while True:
        start, length = {"key": (0, 0), "basket": (0, 0)}.get(kind) or others.get(kind, (0, size))
        if kind in ("key", "basket"):
            start, length = draw.choice(spans)
            length = min(length, 90) if kind == "key" else length
        place = start + draw.randrange(length)
        new = b"" if kind == "end" else draw.randbytes(draw.choice([1, 1, 1, 4, 64]))
        if not any(place < span.stop and place + len(new) > span.start for span in plain):
            return kind, place, new


def main():
    source, copy, n = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    raw, wanted = source.read_bytes(), digest(source)
    where = places(source)
    copy.write_bytes(raw)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in range(n):
        kind, place, new = mutation(number, len(raw), *where)
        with copy.open("r+b") as file:
            file.seek(place)
            file.write(new)
            if not new:
                file.truncate()
        try:
            result = {"is_same": digest(copy) == wanted, "message": ""}
        except NtupleError as error:
            result = {"is_same": False, "message": str(error)}
        except Exception as error:  # the test wants to see it
            result = {"is_same": False, "message": f"{type(error).__name__}\n{error}"}
        print(json.dumps({"number": number, "kind": kind, "place": place} | result), flush=True)
        with copy.open("r+b") as file:
            file.seek(place)
            file.write(raw[place:] if not new else raw[place : place + len(new)])
            file.truncate(len(raw))


if __name__ == "__main__":
    main()
