"""How mails leave: what a channel is, and the channels that exist."""
