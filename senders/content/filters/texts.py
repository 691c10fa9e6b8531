"""Filters of text."""

import html
import re

from liquid import Environment, Markup
from liquid.filter import with_environment

from senders.content.filters.values import argument_text, whole_number

_FEWEST_WORDS, _MOST_WORDS = 1, 2**31 - 1
_HTML_MARKUP = re.compile(r"<script.*?</script>|<!--.*?-->|<style.*?</style>|<.*?>", re.DOTALL | re.IGNORECASE)


def truncate(value: str, length: object = 50, ending: object = "...") -> str:
    """At most `length` characters, the ending included. The ending itself is never cut."""
    count, end = whole_number(length, "truncate"), argument_text(ending)
    return value if len(value) <= count else value[: max(0, count - len(end))] + end


def truncatewords(value: str, words: object = 15, ending: object = "...") -> str:
    """At most this many words, and at least one. A shorter text is not changed."""
    count = min(max(whole_number(words, "truncatewords"), _FEWEST_WORDS), _MOST_WORDS)
    found = value.split()
    return value if len(found) <= count else " ".join(found[:count]) + argument_text(ending)


def replace_last(value: str, search: str, replacement: str) -> str:
    """The text with the last occurrence replaced, even at its beginning."""
    before, found, after = value.rpartition(search) if search else (value, "", "")
    return before + replacement + after if found or not search else value


def remove_last(value: str, search: str) -> str:
    """The text without the last occurrence, even at its beginning."""
    return replace_last(value, search, "")


def split(value: str, separator: str = "") -> list[str]:
    """The parts of the text, without empty ones at its end. Without a separator, its characters."""
    if not separator:
        return list(value)
    parts = value.split(None if separator == " " else separator)
    while parts and not parts[-1]:
        parts.pop()
    return parts


@with_environment
def strip_html(value: str, *, environment: Environment) -> str:
    """The text without tags, comments, scripts and styles."""
    stripped = _HTML_MARKUP.sub("", value)
    return Markup(stripped) if environment.autoescape and isinstance(value, Markup) else stripped


@with_environment
def escape(value: str, *, environment: Environment) -> str:
    """The text with `&<>"'` as HTML shows them."""
    escaped = html.escape(str(value)).replace("&#x27;", "&#39;")
    return Markup(escaped) if environment.autoescape else escaped
