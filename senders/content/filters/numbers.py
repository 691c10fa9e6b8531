"""Filters of numbers and amounts of money."""

from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal

from babel.numbers import NumberFormatError, parse_decimal
from liquid import RenderContext
from liquid.exceptions import FilterArgumentError
from liquid.extra.filters.babel import Currency
from liquid.filter import num_arg

from senders.content.filters.values import whole_number


def round_(value: object, digits: object = 0) -> int | float:
    """Rounded half away from zero to this many digits. Negative digits round before the point."""
    number, places = num_arg(value, 0), whole_number(digits, "round")
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


AMOUNTS_KEPT = 4096


class CurrencyFilter(Currency):
    """`currency`: US dollars and English unless a template assigns `currency_code` and `locale` first."""

    def __init__(self) -> None:
        super().__init__()
        self._names = (self.currency_code_var, self.locale_var, self.format_var, self.input_locale_var)
        self._written: dict[object, str] = {}

    def __call__(self, left: object, *, context: RenderContext, group_separator: bool = True) -> str:
        """The amount as text. Prices come again: one that was written is not written anew."""
        settings = [context.resolve(name, default=None) for name in self._names]
        key = (repr(left), type(left), group_separator, *map(repr, settings))
        if key not in self._written:
            written = self._write(left, context, group_separator)
            if len(self._written) >= AMOUNTS_KEPT:
                self._written.clear()
            self._written[key] = written
        return self._written[key]

    def _write(self, left: object, context: RenderContext, group_separator: bool) -> str:
        if isinstance(left, str):
            try:
                left = parse_decimal(left, locale=context.resolve(self.input_locale_var, default="en_US"))
            except NumberFormatError:
                left = None
        if isinstance(left, bool) or not isinstance(left, int | float | Decimal):
            raise FilterArgumentError("currency: not an amount", token=None)
        return str(super().__call__(left, context=context, group_separator=group_separator))
