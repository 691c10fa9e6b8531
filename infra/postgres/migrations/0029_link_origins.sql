-- Links that a browser key made, which is public, lead from a visitor to a user, and no further.

ALTER TABLE identity_links ADD COLUMN by_server boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN identity_links.by_server IS 'Whether a server key made it: only such a link is followed after another, and no other link replaces it.';
