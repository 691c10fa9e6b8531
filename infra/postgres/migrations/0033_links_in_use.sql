-- Links that no mail has had for long are removed.

COMMENT ON TABLE links IS 'The addresses that clicks in mails lead to, each once, until no mail has had it for EBBTIDE_LINK_DAYS.';
COMMENT ON COLUMN links.stored_at IS 'When a mail last had it, to two days.';
