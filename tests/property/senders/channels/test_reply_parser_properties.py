"""Replies of any bytes, in any pieces: one reading, or a refusal, within bounds."""

from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from senders.bounces.classifier import load_classifier
from senders.bounces.refusal import Stage
from senders.channels.smtp import replies
from senders.channels.smtp.reply_parser import MAX_LINE, MAX_REPLY, BadReply, RawReply, ReplyParser

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=60).map(str.strip)
CODES = st.integers(200, 599).filter(lambda code: code != 421)
REPLIES = st.lists(st.tuples(CODES, st.lists(TEXTS, min_size=1, max_size=5)), max_size=5)
LIKELY = st.sampled_from(
    [b"250", b"550", b"421", b"354", b"-", b" ", b"\r\n", b"\n", b"\r", b"\0", b"5.1.1", b"x" * 600]
)
BYTES = st.lists(LIKELY | st.binary(max_size=8), max_size=40).map(b"".join)


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def read(data: Sequence[bytes], expected: int) -> tuple[list[RawReply], bool]:
    """What a parser makes of these pieces: replies, and whether it refused one."""
    parser, found = ReplyParser(), list[RawReply]()
    for piece in data:
        try:
            found += parser.feed(piece, expected - len(found))
        except BadReply:
            return found, True
        if parser.closing:
            break
    return found, False


@given(REPLIES, st.lists(st.integers(0), max_size=8))
def test_replies_are_read_as_they_were_written_whatever_the_pieces(
    written: list[tuple[int, list[str]]], cuts: list[int]
) -> None:
    lines = [
        f"{code}{' ' if number == len(texts) - 1 else '-'}{text}\r\n"
        for code, texts in written
        for number, text in enumerate(texts)
    ]
    found, refused = read(pieces("".join(lines).encode(), cuts), len(written))
    assert not refused
    assert found == [RawReply(code, "\n".join(texts)) for code, texts in written]


@given(BYTES, st.integers(0, 4), st.lists(st.integers(0), max_size=8))
@example(b"250 a\r\n4", 1, [])
def test_any_bytes_give_at_most_the_expected_replies_and_each_has_a_result(
    data: bytes, expected: int, cuts: list[int]
) -> None:
    found, refused = read(pieces(data, cuts), expected)
    whole, whole_refused = read([data], expected)
    assert len(found) <= expected
    assert refused == whole_refused
    assert refused or found == whole
    for reply in found:
        assert len(reply.text) <= MAX_REPLY
        result = replies.result(replies.parse(reply.code, reply.text), Stage.DATA, load_classifier())
        assert result.reply is not None
        assert result.reply.text.isprintable()


@given(st.sampled_from([b"x", b"250-\r\n", b"250-" + b"y" * 500 + b"\r\n"]))
def test_a_reply_without_an_end_is_refused_before_it_fills_the_memory(piece: bytes) -> None:
    _, refused = read([piece] * (2 * (MAX_REPLY + MAX_LINE) // len(piece)), 1)
    assert refused
