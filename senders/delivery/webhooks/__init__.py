"""Webhooks in a worker: which may begin, how they are sent, and endpoints that are suspended."""
