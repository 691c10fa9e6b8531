"""The files of the questions: each has what the list, the page and the plots need."""

import re

import pytest

from cli.analytics.charts import KINDS
from cli.analytics.methods import METHODS
from cli.analytics.questions import FOLDER, Question, QuestionError, Setting, named, questions

EVERY = pytest.mark.parametrize("question", questions().values(), ids=lambda question: question.name)


def test_there_are_the_questions_of_the_page() -> None:
    assert len(questions()) == len(list(FOLDER.glob("*.sql"))) == 25


@EVERY
def test_a_question_ends_with_a_mark_and_has_sql_a_part_and_a_plot(question: Question) -> None:
    assert question.asks.endswith("?")
    assert question.reads.endswith(".")
    assert question.part
    assert re.match("SELECT|WITH", question.sql)
    assert question.plot.kind in KINDS
    assert not question.method or question.method in METHODS


@EVERY
def test_every_variable_has_a_value(question: Question) -> None:
    variables = set(re.findall(r":'(\w+)'", question.sql))
    common = {"since", "until", "trigger"}
    unused_by_sql = {"control", "weights"}  # for the method
    assert variables - common == question.settings.keys() - unused_by_sql
    assert {"since", "until"} <= variables


@EVERY
def test_a_question_reads_nothing_but_the_views_of_analysts(question: Question) -> None:
    own = set(re.findall(r"(\w+) AS \(", question.sql))
    read = set(re.findall(r"(?:FROM|JOIN) ([\w.]+)", question.sql)) - own - {"unnest", "hour"}
    assert read
    assert all(name.startswith("analytics.") for name in read)


@EVERY
def test_bounds_that_hold_at_all_times_need_all_subjects(question: Question) -> None:
    assert not question.begins or question.begins in question.sql
    assert question.begins or not re.search("however often|always-valid", question.reads)


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(QuestionError, match="did you mean funnel"):
        named("funel")


def test_a_wrong_setting_or_choice_names_what_there_is() -> None:
    with pytest.raises(QuestionError, match="has no setting 'prize'; it has: price"):
        named("cost").values({"prize": "1"})
    with pytest.raises(QuestionError, match="use converted or clicked"):
        named("experiment").values({"success": "opened"})


def test_the_first_choice_is_the_default() -> None:
    assert Setting.parse("success=converted|clicked What counts.") == Setting(
        "success", "converted", "What counts.", ("converted", "clicked")
    )


def test_a_percent_sign_of_sql_is_no_placeholder() -> None:
    assert "'%%'" in named("paths").statement
