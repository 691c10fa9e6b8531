"""What the sink of providers answers, by its script."""

from pathlib import Path

from infra.local.sink_answers import AnswerBook
from infra.local.sink_script import Provider, ScriptedAnswer, SinkScript


def test_an_answer_ends_once_its_file_is_there(tmp_path: Path) -> None:
    over = tmp_path / "over"
    refusal = ScriptedAnswer(at="rcpt", text="550 blocked", until_file=over)
    provider = Provider(name="all", replies=(refusal,))
    book = AnswerBook(SinkScript(provider=(provider,)))

    def answer() -> str | None:
        given = book.at_recipient(provider, "127.0.0.1", "from@shop.example", "to@d.example", 0.0)
        return None if given is None else given.text

    assert answer() == "550 blocked"
    over.touch()
    assert answer() is None
