"""The channel of webhooks: HTTP requests, signed as Standard Webhooks says, to addresses that the settings allow."""
