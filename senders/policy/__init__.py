"""Whether a mail may be sent: the stages, the recipients view, and suppressions."""
