"""Commands for operators: switches, dead letters, suppressions, publishing, the state of workers."""
