-- Profiles: what is known of each user, with the time and the source of each value; links from visitors to users; and
-- what is to be published of both.

CREATE SEQUENCE profile_versions;
CREATE TABLE profiles (
    user_id text PRIMARY KEY,
    version bigint NOT NULL,
    state   json NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE profiles IS 'What is known of each user: each value with its time and source. Written by web alone.';
COMMENT ON COLUMN profiles.version IS 'Grows with each change; 0 before the first. A header of each record that web publishes says it.';

CREATE TABLE identity_links (
    anonymous_id text PRIMARY KEY,
    user_id      text NOT NULL,
    time_us      bigint NOT NULL
);
CREATE INDEX identity_links_user ON identity_links (user_id);
COMMENT ON TABLE identity_links IS 'To whom the events of a visitor are credited: the last link by time counts.';

CREATE TABLE web_outbox (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id      text NOT NULL,
    event        bytea,
    anonymous_id text,
    CHECK ((event IS NULL) = (anonymous_id IS NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE web_outbox IS 'What is to be published: the profile of a user as it then is, or an event of a visitor for that user.';

CREATE TABLE web_publisher (
    owner   text NOT NULL,
    ends_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX web_publisher_one ON web_publisher ((true));
INSERT INTO web_publisher VALUES ('', '-infinity');
COMMENT ON TABLE web_publisher IS 'Which process publishes the outbox, and until when if it is not heard of again. One row.';

CREATE TABLE web_progress (
    reader      text NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL,
    caught_up   timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (reader, partition)
);
COMMENT ON TABLE web_progress IS 'The records before next_offset are in the tables that the reader writes.';
COMMENT ON COLUMN web_progress.caught_up IS 'When the reader was last at the end of the partition.';
