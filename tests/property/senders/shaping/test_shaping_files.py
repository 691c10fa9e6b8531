"""Properties of shaping files: positions, hostile files, the names of sites, and values read back as shown."""

import string
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import senders.shaping
from senders.shaping.keys import KEYS
from senders.shaping.loader import inspect
from senders.shaping.quantities import SendRate, duration_text, parse_duration
from senders.shaping.resolution import resolve
from senders.shaping.sites import Destination, site_name
from senders.shaping.toml_positions import TomlPath, TomlPositions

STARTING = (Path(senders.shaping.__file__).with_name("data") / "starting.toml").read_text()
BARE = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=6)
QUOTED = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=6)
SCALARS = st.sampled_from(
    ["1", "-2.5", "true", "2026-01-05 10:00:00", "10:00:00", "'a # b'", "'''\nx ] }\n'''", '"""a\\"" """', '"\\u00e9,"']
)
SPACES = st.sampled_from(["", " ", "\t "])
COMMENTS = st.sampled_from(["", " # note ] } '", "\n\n"])


def token(name: str) -> str:
    if name and all(c in string.ascii_letters + string.digits + "_-" for c in name):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> str:
    kind = draw(st.integers(0, 3)) if depth else 0
    if kind < 2:
        return draw(SCALARS)
    inner = draw(st.lists(values(depth - 1), max_size=3))
    if kind == 2:
        gap = draw(st.sampled_from([", ", ",\n  ", " , # note\n"]))
        return "[" + draw(SPACES) + gap.join(inner) + draw(SPACES) + "]"
    names = draw(st.lists(BARE | QUOTED, unique=True, min_size=len(inner), max_size=len(inner)))
    pairs = [f"{token(name)}{draw(SPACES)}={draw(SPACES)}{value}" for name, value in zip(names, inner, strict=True)]
    return "{" + ", ".join(pairs) + "}"


@st.composite
def files(draw: st.DrawFn) -> str:
    lines = []
    for number in range(draw(st.integers(0, 5))):
        name = ".".join(token(part) for part in draw(st.lists(BARE | QUOTED, min_size=1, max_size=3)))
        form = draw(st.sampled_from(["[{}]", "[[{}]]", "[ {} ]", ""]))
        if form:
            lines.append(form.format(name) + draw(COMMENTS))
        lines += [
            f"k{number}{n}{draw(SPACES)}={draw(SPACES)}{draw(values())}{draw(COMMENTS)}"
            for n in range(draw(st.integers(0, 2)))
        ]
    return "\n".join(lines)


def paths(data: Any, path: TomlPath = ()) -> Iterator[TomlPath]:
    if path:
        yield path
    items: Any = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for part, value in items:
        yield from paths(value, (*path, part))


@given(files())
def test_every_key_that_tomllib_reads_has_a_position_and_no_other(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        TomlPositions(text)
        return
    assert TomlPositions(text).paths == set(paths(data))


@given(files())
def test_a_position_is_where_the_value_begins(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    positions = TomlPositions(text)
    for path in paths(data):
        if isinstance(path[-1], str) and path[-1].startswith("k"):
            line, column = positions.line_and_column(positions.of(path).key)
            written = text.split("\n")[line - 1][column - 1 :].lstrip("[ ")
            assert written.startswith((path[-1], token(str(path[0]))))


@given(
    st.lists(
        st.tuples(st.integers(0, len(STARTING)), st.integers(0, 30), st.text(max_size=8) | st.sampled_from(list(KEYS))),
        min_size=1,
        max_size=6,
    )
)
def test_a_damaged_file_gives_findings_at_places_of_the_file(damage: list[tuple[int, int, str]]) -> None:
    text = STARTING
    for start, length, inserted in damage:
        text = text[:start] + inserted + text[start + length :]
    raw = text.encode("utf-8", "surrogatepass")

    file, findings = inspect(raw, "f")

    assert (file is None) == any(each.severity == "error" for each in findings)
    assert all(1 <= each.line <= text.count("\n") + 1 and each.column >= 1 for each in findings)
    assert all("\n" not in str(each) for each in findings)


@given(st.binary(max_size=300))
def test_any_bytes_give_findings_or_a_file(raw: bytes) -> None:
    inspect(raw, "f")


HOSTS = st.lists(st.lists(st.sampled_from(["a", "b", "mx", "x-y"]), min_size=1, max_size=4).map(".".join), min_size=1)


@given(HOSTS, HOSTS)
def test_two_sites_have_one_name_only_if_they_have_the_same_hosts(some: list[str], others: list[str]) -> None:
    assert (site_name(some) == site_name(others)) == (set(some) == set(others))


@given(HOSTS)
def test_a_destination_has_every_key_whatever_its_hosts(hosts: list[str]) -> None:
    file, _ = inspect(STARTING.encode(), "f")
    assert file is not None

    egress = resolve(file, Destination.of("d.example", hosts), "default")

    assert set(egress.values) == set(KEYS)
    assert egress.provider is None


@given(st.integers(1, 10_000), st.sampled_from([1, 60, 3600, 86_400]), st.integers(1, 100))
def test_a_rate_is_read_back_as_it_is_shown(count: int, period_s: int, burst: int) -> None:
    rate = SendRate(count, period_s, min(burst, count))

    assert SendRate.parse(str(rate)) == rate


@given(st.timedeltas(min_value=parse_duration("0s"), max_value=parse_duration("366d")))
def test_a_duration_is_read_back_as_it_is_shown(duration: Any) -> None:
    assert parse_duration(duration_text(duration)) == duration
