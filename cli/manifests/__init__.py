"""Rules as they are published: plans, numbered manifests, their history and the way back."""
