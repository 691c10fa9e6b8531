"""What a person may ask for: all that is kept of them, and that it goes."""
