"""The gates of a send, one module each: the check, its verification and its words. `table` has their order."""
