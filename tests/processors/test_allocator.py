"""A worker reuses the memory of freed arrays whatever dask's nanny said, and leaves a user's own setting alone."""

import os
import platform
import subprocess
import sys

import pytest

from jpsi_lnv.processors.work.allocator import SET_BY_DASK, TRIM_THRESHOLD

N_ARRAYS, PAGES = 200, 200
# Counts the pages that the system maps while arrays of the size of a column come and go.
SCRIPT = f"""
import resource
import numpy as np
from jpsi_lnv.processors.work.allocator import keep_memory_between_arrays

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({N_ARRAYS}):
        np.ones({PAGES} * resource.getpagesize() // 8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
print(keep_memory_between_arrays(), before, faults())
"""


def measure(value):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    if value:
        environment[TRIM_THRESHOLD] = value
    call = [sys.executable, "-c", SCRIPT]
    words = subprocess.run(call, env=environment, check=True, capture_output=True, text=True).stdout.split()
    return words[0] == "True", int(words[1]), int(words[2])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_arrays_are_not_mapped_anew_every_time():
    is_undone, before, after = measure(SET_BY_DASK)
    assert is_undone
    assert before > 0.9 * N_ARRAYS * PAGES
    assert after < 0.1 * before


@pytest.mark.parametrize("value", [None, "131072"])
def test_other_settings_stay(value):
    assert not measure(value)[0]
