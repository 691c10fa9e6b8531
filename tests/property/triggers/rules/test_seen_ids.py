"""The remembered event ids, held against a plain dictionary of ids and instants."""

from hypothesis import example, given
from hypothesis import strategies as st

from triggers.rules.seen import SEEN_IDS, SEEN_MS, SeenIds

GAPS = st.one_of(st.integers(0, 5), st.sampled_from([SEEN_MS // 3, SEEN_MS - 1, SEEN_MS]))
EVENTS = st.lists(st.tuples(st.integers(0, 90), GAPS), max_size=150)


@given(EVENTS, st.sampled_from([-3_600_000, 0, 1_790_000_000_000]))
@example([(0, 0), (0, 0)], -3_600_000)  # a case that starts in 1970 in a zone east of Greenwich
def test_an_id_is_repeated_if_it_is_among_the_last_64_within_a_day(
    events: list[tuple[int, int]], start_ms: int
) -> None:
    seen, known, now_ms = SeenIds(), dict[str, int](), start_ms
    for number, gap_ms in events:
        now_ms += gap_ms
        name = f"event-{number}"
        known = {each: at for each, at in known.items() if now_ms - at < SEEN_MS}
        assert seen.add(name, now_ms) == (name not in known)
        if name not in known:
            known = dict([*known.items(), (name, now_ms)][-SEEN_IDS:])
        assert len(seen) == len(known)
        assert all(each in seen for each in known)
