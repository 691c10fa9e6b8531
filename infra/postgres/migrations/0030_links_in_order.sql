-- The HTTP processes read the newest links again and again, which an index of ranges of pages does in no order.

DROP INDEX links_stored;
CREATE INDEX links_stored ON links (stored_at);
