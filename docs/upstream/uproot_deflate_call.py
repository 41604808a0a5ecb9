"""uproot: reading with `library = "deflate"` fails, as deflate's argument is not called `bufsize`."""

import zlib

import uproot

decompressor = uproot.compression._DecompressZLIB()
decompressor.library = "deflate"
try:
    got = decompressor.decompress(zlib.compress(b"abc" * 100), 300) == b"abc" * 100
except TypeError as error:
    got = f"TypeError: {error}"
print(f"got {got}; wanted True")
