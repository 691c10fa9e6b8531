"""Makes an environment of python-liquid filter as Shopify documents it (https://shopify.github.io/liquid/filters/).

python-liquid has all these filters. Those of this package differ from it: python-liquid's lengthen a text that they
should cut, keep items that they should drop, fail at null, or read the machine's clock and zone. Two things are
Ebbtide's own: a filter fails at a missing value (except `default`), and `currency` fails at a text that is no amount.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from liquid import Environment
from liquid.exceptions import UndefinedError
from liquid.undefined import is_undefined

from senders.content.filters import dates, lists, numbers, texts
from senders.content.filters.values import as_shown, text_of

_TEXT_FILTERS = frozenset(
    {
        *("append", "capitalize", "downcase", "escape", "escape_once", "lstrip", "newline_to_br", "prepend", "remove"),
        *("remove_first", "remove_last", "replace", "replace_first", "replace_last", "rstrip", "split", "squish"),
        *("strip", "strip_html", "strip_newlines", "truncate", "truncatewords", "upcase", "url_decode", "url_encode"),
        *("base64_decode", "base64_encode", "base64_url_safe_decode", "base64_url_safe_encode"),
        *("escapejs", "safe"),
    }
)

Filter = Callable[..., Any]

_FILTERS: dict[str, Filter] = {
    "compact": lists.compact,
    "currency": numbers.CurrencyFilter(),
    "date": dates.date_,
    "default": lists.default,
    "escape": texts.escape,
    "find": lists.find,
    "find_index": lists.find_index,
    "has": lists.has,
    "join": lists.join,
    "map": lists.map_,
    "modulo": numbers.modulo,
    "reject": lists.reject,
    "remove_last": texts.remove_last,
    "replace_last": texts.replace_last,
    "round": numbers.round_,
    "size": lists.size,
    "slice": lists.slice_,
    "sort": lists.sort,
    "sort_natural": lists.sort_natural,
    "split": texts.split,
    "strip_html": texts.strip_html,
    "sum": lists.sum_,
    "truncate": texts.truncate,
    "truncatewords": texts.truncatewords,
    "uniq": lists.uniq,
    "where": lists.where,
}


def install(environment: Environment) -> None:
    """Give an environment these filters, and make every filter but `default` fail at a missing value."""
    for name, function in _FILTERS.items():
        environment.add_filter(name, function)
    for name in _TEXT_FILTERS:
        environment.add_filter(name, _with_text(environment.filters[name]))
    for name, function in list(environment.filters.items()):
        if name != "default":
            environment.add_filter(name, _without_missing(name, function))


def _without_missing(name: str, inner: Filter) -> Filter:
    """The filter, which raises UndefinedError where its value or an argument is missing."""

    @wraps(inner)
    def strict(value: object, *arguments: object, **options: object) -> object:
        for given in (value, *arguments):
            if is_undefined(given):
                str(given)  # raises UndefinedError with the name and the place
        if value is None:
            raise UndefinedError(f"… | {name}", token=None)
        return inner(value, *arguments, **options)

    for flag in ("with_context", "with_environment"):  # set by python-liquid on functions and on classes
        setattr(strict, flag, getattr(inner, flag, False))
    return strict


def _with_text(inner: Filter) -> Filter:
    """The filter, which gets its value as text and its arguments as a template shows them."""

    @wraps(inner)
    def of_text(value: object, *arguments: object, **options: object) -> object:
        return inner(text_of(value), *("" if given is None else as_shown(given) for given in arguments), **options)

    return of_text
