"""Where an export goes on, and what it refuses to pass over."""

import pytest

from cli.lake.lake_folder import LakeProblem
from cli.lake.lake_topics import PartitionEnds

ENDS = PartitionEnds("decisions", 3, low=100, high=200)


def test_a_first_export_begins_with_the_first_record_that_is_there() -> None:
    assert ENDS.begin(None, accept_gaps=False) == 100


def test_an_export_goes_on_where_the_last_one_ended() -> None:
    assert ENDS.begin(150, accept_gaps=False) == 150
    assert ENDS.begin(200, accept_gaps=False) == 200


def test_records_that_were_deleted_before_they_were_exported_are_told() -> None:
    with pytest.raises(LakeProblem, match=r"partition 3: 40 offsets were deleted .* --accept-gaps"):
        ENDS.begin(60, accept_gaps=False)
    assert ENDS.begin(60, accept_gaps=True) == 100


@pytest.mark.parametrize("accept_gaps", [False, True])
def test_a_topic_that_was_made_anew_is_told(accept_gaps: bool) -> None:
    with pytest.raises(LakeProblem, match="made anew"):
        ENDS.begin(201, accept_gaps=accept_gaps)
