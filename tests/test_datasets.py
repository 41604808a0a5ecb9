"""Metadata of datasets: what is refused, and that the message names dataset and key."""

from __future__ import annotations

import pytest

from jpsi_lnv.analysis.datasets import DatasetMetadata
from jpsi_lnv.analysis.errors import FilesetError

pytestmark = pytest.mark.fast

GOOD = {"kind": "signal", "sqrt_s": 3.0969}


def test_round_trip():
    record = DatasetMetadata.from_dict(
        "a", {"kind": "majorana", "sqrt_s": 3.0969, "m_majorana": 1.2, "majorana_mode": "2nu"}
    )
    assert DatasetMetadata.from_dict("a", record.to_dict()) == record


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"sqrt_s": None}, "sqrt_s"),
        ({"sqrt_s": -3.0}, "sqrt_s"),
        ({"sqrt_s": float("nan")}, "sqrt_s"),
        ({"sqrt_s": "3.1"}, "sqrt_s"),
        ({"kind": "signl"}, "kind"),
        ({"m_majorana": 1.0}, "m_majorana"),
        ({"kind": "majorana"}, "m_majorana"),
        ({"kind": "majorana", "m_majorana": 1.0}, "majorana_mode"),
        ({"luminosity": 0}, "luminosity"),
        ({"n_jpsi": -1}, "n_jpsi"),
        ({"sqrts": 3.1}, "sqrts"),
        ({"sqrt_s": 3096.9}, "sqrt_s"),
        ({"kind": "majorana", "m_majorana": 900, "majorana_mode": "2nu"}, "m_majorana"),
        ({"kind": ["data"]}, "kind"),
        ({"blind": "no"}, "blind"),
        ({"is_simulation": 0}, "is_simulation"),
        ({"branching_fraction": 6.86}, "branching_fraction"),
        ({"branching_fraction_sigma": 1e-3}, "branching_fraction_sigma"),
        ({"branching_fraction": 1e-2, "branching_fraction_sigma": -1e-3}, "branching_fraction_sigma"),
        ({"part_of": 3}, "part_of"),
        ({"selections": "search"}, "selections"),
    ],
)
def test_a_wrong_value_names_dataset_and_key(change, key):
    with pytest.raises(FilesetError, match=rf"dataset 'jpsi'.*'{key}'"):
        DatasetMetadata.from_dict("jpsi", GOOD | change)


def test_metadata_of_another_form_are_refused():
    with pytest.raises(FilesetError, match="dataset 'jpsi': metadata are 'data'"):
        DatasetMetadata.from_dict("jpsi", "data")


@pytest.mark.parametrize("key", ["kind", "sqrt_s"])
def test_a_missing_key_is_named(key):
    metadata = {k: v for k, v in GOOD.items() if k != key}
    with pytest.raises(FilesetError, match=rf"dataset 'jpsi': metadata lack '{key}'"):
        DatasetMetadata.from_dict("jpsi", metadata)


@pytest.mark.parametrize(
    ("metadata", "is_blind"),
    [
        ({"kind": "data", "is_simulation": False}, True),
        ({"kind": "data", "is_simulation": True}, True),
        ({"kind": "data", "is_simulation": True, "blind": False}, False),
        ({"kind": "continuum", "is_simulation": False, "luminosity": 410}, True),
        ({"kind": "signal"}, False),
    ],
)
def test_data_are_blind_unless_the_fileset_says_otherwise(metadata, is_blind):
    assert DatasetMetadata.from_dict("a", {"sqrt_s": 3.0969, **metadata}).is_blind is is_blind
