"""Makes signed mails from templates. Pure, except for reading and writing the signing key."""
