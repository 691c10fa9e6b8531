"""`ebbtide backtest --engine spark`: the same rules over a log that is beyond one machine (docs/backtest.md)."""
