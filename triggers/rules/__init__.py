"""Rules as they run: the loaded model, its index, and the state of a user."""
