"""Which record of a compacted topic is the newer one."""

import pytest

from infra.replay import _follows, _Seen

OWN = _Seen(1_000, (6, 4), "")


@pytest.mark.parametrize(
    ("other", "newer"),
    [
        (_Seen(1_001, (5, 0), ""), True),
        (_Seen(1_000, (5, 0), ""), True),
        (_Seen(999, (5, 9), ""), False),
        (_Seen(1_000, (6, 5), ""), True),
        (_Seen(1_000, (6, 3), ""), False),
    ],
)
def test_a_newer_record_is_behind_it_in_its_partition_or_not_older_in_another(other, newer):
    assert _follows(other, OWN) is newer
