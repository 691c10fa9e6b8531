-- Subjects of a trigger stand under variant '', those of its experiments under their variants: who was mailed before an
-- experiment began is a subject of it too, from the first mail with a variant.

DELETE FROM history_subjects; -- counted otherwise; `ebbtide analytics histories` computes all of them anew

COMMENT ON VIEW analytics.experiments IS
    'Users by the day of their first mail of a trigger with a variant, and how many clicked and converted since.';

CREATE OR REPLACE VIEW analytics.holdouts AS
SELECT day, trigger, CASE WHEN held_out THEN 'held out' ELSE 'mailed' END AS arm, users, converted
FROM history_subjects
WHERE variant = '' AND trigger IN (SELECT trigger FROM history_subjects WHERE held_out);
COMMENT ON VIEW analytics.holdouts IS
    'Users by the day of their first mail, or of the first that was held back, and how many converted since.';
