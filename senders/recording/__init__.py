"""What analysts read: the hypertables of decisions, deliveries and engagement, and the rollups kept with them."""
