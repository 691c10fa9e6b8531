-- Which blocks have the mails of some days. Rows come in the order of time, so a question by hour reads those alone; it
-- read all hours, because by the key it would have fetched each row from a place of its own. Late rows of other days lie
-- between, hence the ranges.

CREATE INDEX rollup_mails_hour_sent ON rollup_mails_hour USING brin (sent timestamptz_minmax_multi_ops);
