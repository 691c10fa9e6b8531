"""The pure core: rules, conditions, decay, state, evaluator, gates, cases, backtest.

No I/O, no clock, no asyncio, no framework: time, randomness and ids are passed in. Times are int milliseconds since
the epoch in here; datetimes appear only on the models of `schemas`.
"""
