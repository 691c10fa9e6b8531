-- part: Experiments
-- asks: Were users divided as the experiment says?
-- reads: Pearson's chi-square test of users against the weights. If it says that they do not fit, no other figure of the
--   experiment is worth anything: find the cause first. One variant alone, without weights that name another, is `unknown`.
-- begins: analytics.experiments
-- setting: weights= The weights of the variants, such as plain=50,with_photo=50; by default all the same.
-- method: sample_ratios
-- plot: bars x=variant y=users by=trigger
SELECT trigger, variant, sum(users) AS users, 0 AS successes
FROM analytics.experiments
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger'
GROUP BY trigger, variant
ORDER BY trigger, variant
