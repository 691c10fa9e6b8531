"""What is wrong with a value that a pydantic model refuses: in our own words, which follow its place and a colon.

The value itself is never repeated: it may be secret, or as long as a mail.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_UNFIT = "not a value that fits"
_TIME = "not a time such as 2026-11-29T10:00:00Z"
_DATE = "not a date such as 2026-11-29"
_WHOLE = "not a whole number"
_WORDS = {
    "missing": "missing",
    "extra_forbidden": "unknown here",
    "json_invalid": "not JSON",
    "none_required": "not null",
    "model_type": "not an object",
    "model_attributes_type": "not an object",
    "dict_type": "not an object",
    "mapping_type": "not an object",
    "list_type": "not a list",
    "tuple_type": "not a list",
    "set_type": "not a list",
    "frozen_set_type": "not a list",
    "string_type": "not text",
    "string_sub_type": "not text",
    "string_unicode": "not Unicode",
    "bool_type": "neither true nor false",
    "bool_parsing": "neither true nor false",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": "not a number",
    "float_parsing": "not a number",
    "decimal_type": "not a number",
    "decimal_parsing": "not a number",
    "finite_number": "not a finite number",
    "greater_than": "not more than {gt}",
    "greater_than_equal": "less than {ge}",
    "less_than": "not less than {lt}",
    "less_than_equal": "more than {le}",
    "multiple_of": "not a multiple of {multiple_of}",
    "string_too_short": "shorter than {min_length} characters",
    "string_too_long": "longer than {max_length} characters",
    "string_pattern_mismatch": "not of the form {pattern}",
    "too_short": "fewer than {min_length} entries",
    "too_long": "more than {max_length} entries",
    "literal_error": "none of {expected}",
    "enum": "none of {expected}",
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "datetime_object_invalid": _TIME,
    "timezone_aware": "a time without an offset; Z is that of UTC",
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "time_delta_type": "not a duration",
    "time_delta_parsing": "not a duration",
    "path_type": "not a path",
    "url_type": "not a URL",
    "url_parsing": "not a URL",
    "url_scheme": "not a URL of {expected_schemes}",
    "ip_v4_address": "not an IPv4 address",
    "ip_v6_address": "not an IPv6 address",
    "ip_any_address": "not an IP address",
    "ip_any_network": "not a network of IP addresses",
}
_EMPTY = {"string_too_short", "too_short"}


def mistakes(error: "ValidationError") -> dict[str, str]:
    """What is wrong, by the place of the value in dotted form; of the whole it is empty."""
    found = error.errors(include_input=False, include_url=False)
    return {".".join(map(str, each["loc"])): mistake_words(each) for each in found}


def mistake_words(wrong: "ErrorDetails") -> str:
    """What is wrong with one value."""
    kind, context = wrong["type"], wrong.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    if kind in _EMPTY and context["min_length"] == 1:
        return "empty"
    return _WORDS.get(kind, _UNFIT).format_map({name: _plain(value) for name, value in context.items()})


def _plain(value: object) -> object:
    """A whole number without a point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
