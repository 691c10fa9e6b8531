"""Rules tried out: cases, backtests, and recorded decisions computed again."""
