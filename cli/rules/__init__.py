"""Commands for people who write rules: new, check, test, backtest, preview, explain, eval, schema."""
