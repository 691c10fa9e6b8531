"""Commands for operators: servers, workers, switches, dead letters, suppressions, publishing."""
