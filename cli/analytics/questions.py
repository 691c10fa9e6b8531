"""The named questions: one file of SQL each in `questions/`, whose head says what it asks, how it is read and plotted.

The SQL is psql's, with variables such as `:'since'`, so that it runs as it stands after `make psql`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from schemas.errors import UserError

FOLDER = Path(__file__).parent / "questions"
_HEAD = re.compile(r"-- (\w+): (.+)\n((?:--   .+\n)*)")
_VARIABLE = re.compile(r":'(\w+)'")
_KEYS = frozenset({"asks", "reads", "part", "plot", "method", "begins", "setting"})


class QuestionError(UserError):
    """There is no such question or setting; the message names what there is."""


@dataclass(frozen=True, slots=True)
class PlotSpec:
    """How an answer is drawn: the kind of plot, and the columns it takes.

    `low` and `high` bound an interval around y.
    """

    kind: str
    x: str
    y: str
    by: str = ""
    low: str = ""
    high: str = ""

    @classmethod
    def parse(cls, text: str) -> "PlotSpec":
        """The plot of a head such as `lines x=day y=sends by=trigger`."""
        kind, *pairs = text.split()
        return cls(kind, **dict(pair.split("=", 1) for pair in pairs))


@dataclass(frozen=True, slots=True)
class Setting:
    """A variable that only some questions have, with its default and what it means.

    Where there are choices, the default is the first of them.
    """

    name: str
    default: str
    means: str
    choices: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Setting":
        """The setting of a head such as `price=0.80 The price` or `success=converted|clicked What counts`."""
        pair, _, means = text.partition(" ")
        name, _, value = pair.partition("=")
        choices = tuple(value.split("|")) if "|" in value else ()
        return cls(name, choices[0] if choices else value, means, choices)


@dataclass(frozen=True, slots=True)
class Question:
    """A named question."""

    name: str
    part: str
    """The part of the page that it stands in."""
    asks: str
    reads: str
    """How the answer is read, and what it leaves out."""
    sql: str
    plot: PlotSpec
    method: str = ""
    """What computes the answer from the rows, where SQL is the wrong tool; see `methods`."""
    begins: str = ""
    """The view with whose first day its period begins by default. Bounds that hold at all times together need all
    subjects since the first: with a period that moves, old ones leave, and each look is another experiment."""
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def statement(self) -> str:
        """The SQL as psycopg takes it."""
        return _VARIABLE.sub(r"%(\1)s", self.sql.replace("%", "%%"))

    def values(self, given: Mapping[str, str]) -> dict[str, str]:
        """The settings with their defaults; raises QuestionError for what the question does not take."""
        if unknown := given.keys() - self.settings.keys():
            known = ", ".join(self.settings) or "none"
            raise QuestionError(f"question {self.name} has no setting {min(unknown)!r}; it has: {known}")
        values = {name: given.get(name, setting.default) for name, setting in self.settings.items()}
        for name, value in values.items():
            if (choices := self.settings[name].choices) and value not in choices:
                raise QuestionError(f"setting {name} of {self.name} is {value!r}; use {' or '.join(choices)}")
        return values


@cache
def questions() -> dict[str, Question]:
    """All questions by name, in the order of the page: that of their files, which begin with a number."""
    found = [_read(file) for file in sorted(FOLDER.glob("*.sql"))]
    return {question.name: question for question in found}


def named(name: str) -> Question:
    """The question of this name; raises QuestionError, which names those that are alike."""
    known = questions()
    if name in known:
        return known[name]
    alike = get_close_matches(name, known, n=1)
    hint = f" did you mean {alike[0]}?" if alike else ""
    raise QuestionError(f"there is no question {name!r};{hint} `ebbtide query` lists them")


def _read(file: Path) -> Question:
    text = file.read_text(encoding="utf-8")
    head: dict[str, str] = {}
    settings: dict[str, Setting] = {}
    end = 0
    for match in _HEAD.finditer(text):
        if match.start() != end or match[1] not in _KEYS:
            break
        end = match.end()
        value = " ".join([match[2], *(line.removeprefix("--").strip() for line in match[3].splitlines())])
        if match[1] == "setting":
            setting = Setting.parse(value)
            settings[setting.name] = setting
        else:
            head[match[1]] = value
    plot = PlotSpec.parse(head.pop("plot"))
    return Question(file.stem.partition("-")[2], sql=text[end:].strip(), plot=plot, settings=settings, **head)
