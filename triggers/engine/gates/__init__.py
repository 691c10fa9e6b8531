"""The gates of a send: one module each, with its question, its verification and its words; `table` has their order."""
