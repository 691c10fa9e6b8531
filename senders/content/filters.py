"""The filters of templates, as Shopify documents them (https://shopify.github.io/liquid/filters/).

python-liquid has them all; those here answer differently there: they lengthen what they should cut, keep what they
should drop, fail at a null or read the machine's clock and zone. Two things are Ebbtide's own: a filter does not take
what is missing (`default` is there for it), and `currency` and `date` say so where a text is no amount or no date.
"""

import html
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from functools import cmp_to_key, wraps
from typing import Any

from babel.numbers import NumberFormatError, parse_decimal
from dateutil import parser  # type: ignore[import-untyped]  # its stubs are a package that nothing else needs
from liquid import Environment, Markup, RenderContext
from liquid.exceptions import FilterArgumentError, UndefinedError
from liquid.extra.filters.babel import Currency
from liquid.filter import flatten, num_arg, with_context, with_environment
from liquid.undefined import is_undefined

from schemas.numbers import plain_text, whole_numbers
from senders.content.blanks import is_blank

NOW = "now of this rendering"
"""The name, which no template can write, under which a rendering is given the moment it takes for now."""

_FEWEST_WORDS, _MOST_WORDS = 1, 2**31 - 1
_TEXT_FILTERS = frozenset(
    {
        *("append", "capitalize", "downcase", "escape", "escape_once", "lstrip", "newline_to_br", "prepend", "remove"),
        *("remove_first", "remove_last", "replace", "replace_first", "replace_last", "rstrip", "split", "squish"),
        *("strip", "strip_html", "strip_newlines", "truncate", "truncatewords", "upcase", "url_decode", "url_encode"),
        *("base64_decode", "base64_encode", "base64_url_safe_decode", "base64_url_safe_encode"),
        *("escapejs", "safe"),
    }
)
_UNSEEN_HTML = re.compile(r"<script.*?</script>|<!--.*?-->|<style.*?</style>|<.*?>", re.DOTALL | re.IGNORECASE)
_DIRECTIVE = re.compile(r"%(.)", re.DOTALL)

Filter = Callable[..., Any]


def install(environment: Environment) -> None:
    """Gives an environment these filters, and makes every filter but `default` refuse what is missing."""
    for name, own in _OWN.items():
        environment.add_filter(name, own)
    for name in _TEXT_FILTERS:
        environment.add_filter(name, _of_text(environment.filters[name]))
    for name, each in list(environment.filters.items()):
        if name != "default":
            environment.add_filter(name, _of_what_is_there(name, each))


def _of_what_is_there(name: str, inner: Filter) -> Filter:
    @wraps(inner)
    def strict(value: object, *arguments: object, **options: object) -> object:
        for each in (value, *arguments):
            if is_undefined(each):
                str(each)  # raises UndefinedError with the name and the place
        if value is None:
            raise UndefinedError(f"… | {name}", token=None)
        return inner(value, *arguments, **options)

    for flag in ("with_context", "with_environment"):  # python-liquid's; an object's class may have them
        setattr(strict, flag, getattr(inner, flag, False))
    return strict


def _of_text(inner: Filter) -> Filter:
    @wraps(inner)
    def of_text(value: object, *arguments: object, **options: object) -> object:
        return inner(_text(value), *("" if each is None else as_shown(each) for each in arguments), **options)

    return of_text


def as_shown(value: object) -> object:
    """A boolean or a number as templates show it: `true`, 49 for 49.0, all digits of 2e21; anything else as it is.

    Raises FilterArgumentError for an infinity or NaN. An object is copied with its whole numbers written whole.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        try:
            return plain_text(value)
        except ValueError as error:
            raise FilterArgumentError(str(error), token=None) from None
    return whole_numbers(value) if isinstance(value, dict) else value


def _text(value: object) -> str:
    """A value as a template shows it."""
    if isinstance(value, list):
        return "".join("" if is_blank(each) else _text(each) for each in flatten(value))
    value = as_shown(value)
    return value if isinstance(value, str) else str(value)


def _as_text(argument: object) -> str:
    """An argument as text. One that the template's HTML part writes out is HTML (`Markup`) and stays so."""
    return argument if isinstance(argument, str) else str(as_shown(argument))


def _whole(value: object, what: str) -> int:
    """An argument that counts something; raises FilterArgumentError where it is no whole number."""
    number = num_arg(value)
    if isinstance(value, bool) or number != int(number):
        raise FilterArgumentError(f"{what} takes a whole number", token=None)
    return int(number)


def _list(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return flatten(value)
    return list(value) if isinstance(value, range) else [value]


def _property(item: Any, name: object) -> Any:
    """An item's property, None where it has none; raises FilterArgumentError where the item can have no properties."""
    if isinstance(item, Mapping):
        return item.get(name)
    if is_undefined(item):
        str(item)  # raises UndefinedError with the item's place
    raise FilterArgumentError("an item that is no object has no properties", token=None)


def _same(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


# of texts


def truncate(value: str, length: object = 50, ending: object = "...") -> str:
    """At most `length` characters with the ending, which is never cut."""
    count, end = _whole(length, "truncate"), _as_text(ending)
    return value if len(value) <= count else value[: max(0, count - len(end))] + end


def truncatewords(value: str, words: object = 15, ending: object = "...") -> str:
    """At most so many words, at least one; a text that has no more stays as it is."""
    count = min(max(_whole(words, "truncatewords"), _FEWEST_WORDS), _MOST_WORDS)
    found = value.split()
    return value if len(found) <= count else " ".join(found[:count]) + _as_text(ending)


def replace_last(value: str, search: str, replacement: str) -> str:
    """The last occurrence replaced, also where it begins the text."""
    before, found, after = value.rpartition(search) if search else (value, "", "")
    return before + replacement + after if found or not search else value


def remove_last(value: str, search: str) -> str:
    """The last occurrence removed, also where it begins the text."""
    return replace_last(value, search, "")


def split(value: str, separator: str = "") -> list[str]:
    """The text's parts. Empty ones at its end are left out; without a separator, its characters."""
    if not separator:
        return list(value)
    parts = value.split(None if separator == " " else separator)
    while parts and not parts[-1]:
        parts.pop()
    return parts


@with_environment
def strip_html(value: str, *, environment: Environment) -> str:
    """The text without tags, comments, scripts and styles."""
    stripped = _UNSEEN_HTML.sub("", value)
    return Markup(stripped) if environment.autoescape and isinstance(value, Markup) else stripped


@with_environment
def escape(value: str, *, environment: Environment) -> str:
    """The text with `&<>"'` as HTML shows them."""
    escaped = html.escape(str(value)).replace("&#x27;", "&#39;")
    return Markup(escaped) if environment.autoescape else escaped


def slice_(value: Any, start: object, length: object = 1) -> Any:
    """A part of a text or a list; a negative start counts from the end. Nothing where it begins outside."""
    sequence = list(value) if isinstance(value, range) else value if isinstance(value, list | tuple) else _text(value)
    first, count = _whole(start, "slice"), _whole(length, "slice")
    first = first + len(sequence) if first < 0 else first
    return sequence[first : first + count] if first >= 0 and count > 0 else sequence[:0]


# of lists


@with_environment
def join(value: Any, separator: object = " ", *, environment: Environment) -> str:
    """The items as one text; null is empty."""
    parted = Markup(" ") if environment.autoescape and separator == " " else _as_text(separator)
    return parted.join("" if is_blank(item) else _text(item) for item in _list(value))


def map_(value: Any, name: object) -> list[Any]:
    """Each item's property; null where one has none."""
    return [_property(item, name) for item in _list(value)]


def compact(value: Any, name: object = None) -> list[Any]:
    """The items without null, or without those whose property is null."""
    return [item for item in _list(value) if not is_blank(item if name is None else _property(item, name))]


def sort(value: Any, name: object = None) -> list[Any]:
    """In ascending order, null last."""
    return _sorted(value, name, lambda key: key)


def sort_natural(value: Any, name: object = None) -> list[Any]:
    """In ascending order whether upper or lower case, null last."""
    return _sorted(value, name, lambda key: _text(key).lower())


def _sorted(value: Any, name: object, key_of: Callable[[Any], Any]) -> list[Any]:
    def compared(one: Any, other: Any) -> int:
        if is_blank(one) or is_blank(other):
            return int(is_blank(one)) - int(is_blank(other))
        first, second = key_of(one), key_of(other)
        try:
            return int(first > second) - int(first < second)
        except TypeError:
            raise FilterArgumentError("items of different types have no order", token=None) from None

    keyed = cmp_to_key(compared)
    return sorted(_list(value), key=lambda item: keyed(item if name is None else _property(item, name)))


def _selects(name: object, value: object) -> Callable[[Any], bool]:
    if value is None:
        return lambda item: not is_blank(_property(item, name)) and _property(item, name) is not False
    return lambda item: _same(_property(item, name), value)


def where(value: Any, name: object, wanted: object = None) -> list[Any]:
    """The items whose property has the value, or is neither null nor false."""
    return list(filter(_selects(name, wanted), _list(value)))


def reject(value: Any, name: object, wanted: object = None) -> list[Any]:
    """The items that `where` leaves out."""
    selects = _selects(name, wanted)
    return [item for item in _list(value) if not selects(item)]


def find(value: Any, name: object, wanted: object = None) -> Any:
    """The first item that `where` keeps, or null."""
    return next(filter(_selects(name, wanted), _list(value)), None)


def find_index(value: Any, name: object, wanted: object = None) -> int | None:
    """The index of the first item that `where` keeps, or null."""
    selects = _selects(name, wanted)
    return next((index for index, item in enumerate(_list(value)) if selects(item)), None)


def has(value: Any, name: object, wanted: object = None) -> bool:
    """Whether `where` keeps any item."""
    return any(map(_selects(name, wanted), _list(value)))


def uniq(value: Any, name: object = None) -> list[Any]:
    """The first of each that are the same, or whose property is."""
    kept: list[tuple[object, Any]] = []
    for item in _list(value):
        key = item if name is None else _property(item, name)
        if not any(key is known or _same(key, known) for known, _ in kept):
            kept.append((key, item))
    return [item for _, item in kept]


def sum_(value: Any, name: object = None) -> int | float:
    """The sum of the items or of their properties; what is no number counts nothing."""
    items = _list(value) if name is None else map_(value, name)
    numbers = [_number_or_zero(item) for item in items]
    total = sum(Decimal(str(number)) for number in numbers)
    return int(total) if all(isinstance(number, int) for number in numbers) else float(total)


def _number_or_zero(value: object) -> int | float:
    return 0 if isinstance(value, bool) or is_blank(value) else num_arg(value, 0)


# of numbers


def round_(value: object, digits: object = 0) -> int | float:
    """Half away from zero, to so many digits; negative ones round before the point."""
    number, places = num_arg(value, 0), _whole(digits, "round")
    rounded = Decimal(str(number)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return float(rounded) if places > 0 and isinstance(number, float) else int(rounded)


def modulo(value: object, divisor: object) -> int | float:
    """The remainder, with the sign of the divisor."""
    one, other = num_arg(value, 0), num_arg(divisor, 0)
    if other == 0:
        raise FilterArgumentError("modulo: divided by 0", token=None)
    if isinstance(one, int) and isinstance(other, int):
        return one % other
    exact, by = Decimal(str(one)), Decimal(str(other))
    return float(exact - by * (exact / by).to_integral_value(ROUND_FLOOR))


class _Amount(Currency):
    """`currency`: US dollars and English unless a template assigns `currency_code` and `locale` first."""

    def __call__(self, left: object, *, context: RenderContext, group_separator: bool = True) -> str:
        if isinstance(left, str):
            try:
                left = parse_decimal(left, locale=context.resolve(self.input_locale_var, default="en_US"))
            except NumberFormatError:
                left = None
        if isinstance(left, bool) or not isinstance(left, int | float | Decimal):
            raise FilterArgumentError("currency: not an amount", token=None)
        return str(super().__call__(left, context=context, group_separator=group_separator))


# of moments


@with_context
def date_(value: Any, form: object, *, context: RenderContext) -> str:
    """A moment by a format of `strftime`. Takes a text, seconds since 1970, and `now`.

    A moment is written in the zone that its text names, and in UTC where there is none. What is no moment stays as it
    is.
    """
    written, now = _text(form), context.globals[NOW]
    assert isinstance(now, datetime), "every rendering is given its moment"
    moment = _moment(value, now)
    if moment is None or not written:
        return _text(value)
    text = _strftime(moment, written)
    return Markup(text) if context.autoescape and isinstance(form, Markup) else text


def _moment(value: Any, now: datetime) -> datetime | None:
    """What is a moment as one; None of anything else."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return now if value in ("now", "today") else _read(value, now)


def _read(value: float | str, now: datetime) -> datetime | None:
    """A number, or a text of digits, as seconds since 1970; another text as it is read, by today where it lacks one."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    try:
        if not isinstance(value, str) or value.isdigit():
            return datetime.fromtimestamp(float(value), UTC)
        read = parser.parse(value, default=today)
    except (ValueError, OverflowError, OSError):
        return None
    return read if isinstance(read, datetime) else None


def _strftime(moment: datetime, form: str) -> str:
    """`strftime` of the C library, but for what it does by the machine's zone, and for Ruby's parts of a second."""
    seconds = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    micros = f"{moment.microsecond:06}"
    own = {"s": str(int(seconds.timestamp())), "L": micros[:3], "N": f"{micros}000"}
    return moment.strftime(_DIRECTIVE.sub(lambda found: own.get(found[1], found[0]), form))


# of anything


def default(value: Any, instead: Any = "", *, allow_false: bool = False) -> Any:
    """The value, or `instead` where it is missing, blank, empty, or false unless that is allowed."""
    if is_blank(value) or (value is False and not allow_false):
        return instead
    return instead if isinstance(value, list | dict) and not value else value


def size(value: Any) -> int:
    """How many items or characters; 0 of anything else."""
    return len(value) if isinstance(value, str | list | tuple | dict | range) else 0


_OWN: dict[str, Filter] = {
    "compact": compact,
    "currency": _Amount(),
    "date": date_,
    "default": default,
    "escape": escape,
    "find": find,
    "find_index": find_index,
    "has": has,
    "join": join,
    "map": map_,
    "modulo": modulo,
    "reject": reject,
    "remove_last": remove_last,
    "replace_last": replace_last,
    "round": round_,
    "size": size,
    "slice": slice_,
    "sort": sort,
    "sort_natural": sort_natural,
    "split": split,
    "strip_html": strip_html,
    "sum": sum_,
    "truncate": truncate,
    "truncatewords": truncatewords,
    "uniq": uniq,
    "where": where,
}
