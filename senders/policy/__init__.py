"""Who may get a mail: consent, suppression, the recipients view, the stages before a mail is made."""
