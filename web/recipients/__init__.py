"""What a recipient of a mail can reach: opens, clicks, unsubscribes and the preference pages."""
