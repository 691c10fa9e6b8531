"""The pages on which recipients choose what they get: plain HTML that works without scripts and without cookies."""
