"""A selection whose chunks take a while."""

import time

from run_cases import counting

PAUSE = 0.3


def _wait(chunk):
    time.sleep(PAUSE)


slow = counting(_wait)
