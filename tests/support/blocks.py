"""Blocks of events, one after the other."""

from __future__ import annotations

import numpy as np

from jpsi_lnv.analysis.events.ntuple_writer import Block


def concatenate(blocks):
    first, n_events = blocks[0], sum(block.n_events for block in blocks)
    values = {name: np.concatenate([block.values[name] for block in blocks]) for name in first.values}
    counts = {name: np.concatenate([np.diff(block.offsets[name]) for block in blocks]) for name in first.offsets}
    return Block(n_events, {name: np.append(0, np.cumsum(of)) for name, of in counts.items()}, values)
