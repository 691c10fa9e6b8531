"""Channels: the protocol, and one package for each way to send."""
