"""Requirements given by name: every kind of value, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpsi_lnv.analysis.cuts import SELECTION, Cuts, changed

pytestmark = pytest.mark.fast


@given(name=st.sampled_from([f.name for f in dataclasses.fields(Cuts)]))
def test_every_requirement_can_be_given_its_own_value(name):
    value = getattr(SELECTION, name)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    assert changed(SELECTION, [f"{name}={text}"]) == SELECTION


def test_values_are_of_the_kind_of_the_requirement():
    cuts = changed(SELECTION, ["chi2_4c_max=25", "net_charge=1", "pid_emc=false", "permutations=one"])
    assert (cuts.chi2_4c_max, cuts.net_charge, cuts.pid_emc, cuts.permutations) == (25.0, 1, False, "one")
    assert cuts.digest() != SELECTION.digest()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["chi2=25"], "requirement 'chi2' does not exist; wanted NAME=VALUE, names among final_state, alternatives"),
        (["chi2_4c_max"], "chi2_4c_max=: chi2 of the 4C fit below; wanted a finite number"),
        (["chi2_4c_max=25", "chi2_4c_max=30"], "is given twice"),
        (["chi2_4c_max=inf"], "wanted a finite number"),
        (["r_xy_max=wide"], "wanted a finite number in cm"),
        (["net_charge=2.5"], "wanted a whole number"),
        (["pid_emc=no"], "wanted true or false"),
        (["permutations=two"], "wanted one or all"),
        (["chi2_4c_max=250"], "chi2_4c_max 250: wanted at most 200"),
        (["m_signal_min=3.2"], "m_signal_min 3.2 and m_signal_max 3.12: wanted the first below the second"),
    ],
)
def test_what_is_no_requirement_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        changed(SELECTION, settings)
