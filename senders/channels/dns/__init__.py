"""The mail servers of a domain by its DNS: MX, addresses, DANE, and MTA-STS."""
