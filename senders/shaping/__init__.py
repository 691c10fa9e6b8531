"""Shaping: who gets what traffic when. `shaping.toml`, limits over all workers, and the state of lanes."""
