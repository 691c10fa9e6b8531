"""From a template to signed bytes. Pure but for the key."""
