"""What a worker shows of itself: metrics, health, status pages."""
