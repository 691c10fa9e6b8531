"""What a delivery worker shows of itself: metrics, health, status."""
