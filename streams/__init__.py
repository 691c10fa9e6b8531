"""The Faust application around the pure trigger core: intake, table of user state, timers, commands and decisions."""
