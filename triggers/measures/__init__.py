"""What is measured over time: decay, windows, local time."""
