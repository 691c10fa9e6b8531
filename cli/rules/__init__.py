"""Commands for people who write rules: check, test, backtest, preview, plan, apply, explain."""
