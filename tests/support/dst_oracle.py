"""pybes3 as the oracle of the own reader of `.dst` files."""

from __future__ import annotations

import numpy as np
from blocks import concatenate

from jpsi_lnv.analysis.events import dst_fallback, schema
from jpsi_lnv.analysis.events.dst import COLLECTIONS, HITS, OF_GROUP, PARTICLES, VERTEX, Dst, open_dst
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.events.run_table import Conditions, uniform

RUNS = uniform(Conditions(sqrt_s=3.097))
OBJECTS = (*COLLECTIONS.values(), *(c for group in OF_GROUP.values() for c in group.values()), PARTICLES, VERTEX)
VECTORS = ("m_tofTrackIds", "m_daughters", "m_trackIdList")


class Oracle(Dst):
    """The same columns of what pybes3 reads."""

    def records(self, collection, entries):
        return dst_fallback.read(self._tree[collection.path], entries)

    def _fetch(self, paths, entries):
        pass


def oracle_of(dst):
    return Oracle(dst.path, dst._file, dst._tree, dst.keep)


def assert_equal(got, wanted):
    assert got.values.keys() == wanted.values.keys()
    for name, values in wanted.values.items():
        assert got.values[name].dtype == values.dtype, name
        assert got.values[name].tobytes() == values.tobytes(), name
    for name, offsets in wanted.offsets.items():
        np.testing.assert_array_equal(got.offsets[name], offsets)


def assert_members_are_the_same(dst, collection, n):
    got, wanted = dst.records(collection, np.arange(n)), dst_fallback.read(dst._tree[collection.path], np.arange(n))
    np.testing.assert_array_equal(got.offsets, wanted.offsets)
    for name, member in got.pieces[0].layout.members.items() if got.pieces else ():
        if name.endswith("VolumeName"):
            continue
        if name in VECTORS:
            assert [a.tolist() for a in got.nested(name)] == [a.tolist() for a in wanted.nested(name)]
        elif wanted.offsets[-1]:
            column = got.column(name, *member.shape)
            assert column.tobytes() == np.ascontiguousarray(wanted.column(name)).tobytes(), name


def assert_pairs_are_the_same(dst, n):
    got, wanted = dst.records(HITS, np.arange(n)), dst_fallback.read(dst._tree[HITS.path], np.arange(n))
    np.testing.assert_array_equal(got.offsets, wanted.offsets)
    for name in ("key", "val"):
        np.testing.assert_array_equal(got.column(name), wanted.column(name) if wanted.offsets[-1] else [])


def assert_columns_are_the_same(path, n, size):
    """Compare all columns of the first n events, read in chunks of a size, with the oracle's."""
    with open_dst(path, keep=tuple(schema.GROUPS)) as dst:
        parts = [make_block(dst.read(start, min(start + size, n), RUNS)) for start in range(0, n, size)]
        assert not dst.fallbacks
        assert_equal(concatenate(parts), make_block(oracle_of(dst).read(0, n, RUNS)))
