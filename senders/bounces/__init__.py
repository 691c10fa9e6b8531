"""Bounces: what refusals and returned mails say, and the listener that receives them. See docs/delivery.md."""
