"""How a mail leaves: SMTP sessions and what their replies mean."""
