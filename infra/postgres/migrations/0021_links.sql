-- Where the links of mails lead. Delivery writes them before a mail leaves; the redirect of clicks reads them.

CREATE TABLE links (
    id        bytea PRIMARY KEY CHECK (length(id) = 8),
    url       text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX links_stored ON links USING brin (stored_at);
COMMENT ON TABLE links IS 'The addresses that clicks in mails lead to, each once.';
COMMENT ON COLUMN links.id IS 'The first 8 bytes of the address''s BLAKE2b, by which the tokens in mails name it.';
