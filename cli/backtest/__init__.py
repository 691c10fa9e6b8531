"""`ebbtide backtest`: rules over a log of any length, on all cores, in bounded memory (docs/backtest.md)."""
