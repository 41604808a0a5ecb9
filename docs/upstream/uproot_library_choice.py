"""uproot: `uproot.ZLIB.library`, as documented, does not choose the library that reads."""

import tempfile
import zlib
from pathlib import Path

import uproot

path = Path(tempfile.mkdtemp()) / "file.root"
with uproot.recreate(path, compression=uproot.ZLIB(1)) as written:
    written.mktree("tree", {"x": "float64"})
    written["tree"].extend({"x": [1.0] * 10_000})

used = []
original = zlib.decompress
zlib.decompress = lambda *args, **kwargs: used.append("zlib") or original(*args, **kwargs)
uproot.ZLIB.library = "no such library"
with uproot.open(path) as opened:
    try:
        opened["tree/x"].array()
        got = f"no error, read by {' and '.join(sorted(set(used)))}"
    except ValueError as error:
        got = f"ValueError: {error}"
print(f"got {got}; wanted ValueError: unrecognized ZLIB.library")
