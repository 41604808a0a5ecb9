"""Twenty of the runs that are disturbed at random, every kind among them; `make soak` prints a table of two hundred."""

import pytest
from disturbances import HUNG, WRONG, disturb, plan, possible

# What is killed or cut off complains at length, and leaves sockets to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize(("place", "what", "seed"), plan(20))
def test_a_disturbed_run_ends_with_the_right_result(place, what, seed, small_fileset, reference, tmp_path, request):
    if why := possible(place, what):
        pytest.skip(why)
    presets = request.getfixturevalue("site") if place == "slurm" else None
    outcome = disturb(place, what, seed, tmp_path, small_fileset, reference, presets)
    assert outcome.word not in (WRONG, HUNG), outcome
