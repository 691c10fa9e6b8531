-- One day of a large programme: 20 triggers, commands in the order of time, two facts of readers for each on average.
--
-- %(first)s and %(last)s are the numbers of its commands, %(day)s its midnight. A tenth more decisions hold back or drop.
CREATE TEMP TABLE day_commands ON COMMIT DROP AS
SELECT md5(n::text) AS command_id, 'u' || (n * 7919 %% %(users)s) AS user_id, 'trigger-' || (n %% 20) AS trigger,
       'step-' || (n / 20 %% 2) AS step, CASE WHEN n %% 20 < 10 THEN (ARRAY['plain', 'photo'])[1 + n / 200 %% 2] END AS variant,
       CASE n %% 20 WHEN 3 THEN 'transactional' ELSE 'marketing' END AS purpose,
       (ARRAY['google', 'microsoft', 'yahoo', 'apple', 'other'])[1 + n / 40 %% 5] AS provider, n,
       %(day)s + (n - %(first)s) * INTERVAL '86400 seconds' / (%(last)s - %(first)s) AS at
FROM generate_series(%(first)s::bigint, %(last)s - 1) AS n;

INSERT INTO decisions (id, time, trigger, rule_hash, user_id, occurrence, step, variant, outcome, reason, command_id,
                       event_ids, gates, inputs)
SELECT md5('d' || n), at, trigger, 'rules', user_id, '["e' || n || '"]', step, variant, 'send', NULL, command_id,
       ARRAY['e' || n], '[]'::jsonb, '{}'::jsonb
FROM day_commands
UNION ALL
SELECT md5('h' || n), at, trigger, 'rules', 'h' || user_id, '["e' || n || '"]', step, variant,
       CASE WHEN n %% 20 < 10 THEN 'held_out' ELSE 'drop' END, CASE WHEN n %% 20 < 10 THEN 'holdout' ELSE 'cap' END, NULL,
       ARRAY['e' || n], '[]'::jsonb, '{}'::jsonb
FROM day_commands WHERE n / 20 %% 10 = 0
UNION ALL
SELECT md5('g' || n), at + INTERVAL '3 hours', trigger, 'rules', user_id, '["e' || n || '"]', step, NULL, 'goal', NULL,
       command_id, ARRAY['p' || n], '[]'::jsonb, jsonb_build_object('sent_at', at, 'held_out', false)
FROM day_commands WHERE n %% 37 = 0
ORDER BY 2;

INSERT INTO deliveries (id, time, command_id, user_id, trigger, purpose, step, variant, decided_at, kind, provider, code,
                        classification, hard, attempt)
SELECT md5('a' || n), at + (n %% 90 + 1) * INTERVAL '0.7 seconds', command_id, user_id, trigger, purpose, step, variant, at,
       CASE WHEN n %% 101 = 0 THEN 'refused' ELSE 'accepted' END, provider, 250,
       CASE WHEN n %% 101 = 0 THEN 'spam_block' END, false, 1
FROM day_commands ORDER BY 2;

INSERT INTO engagement (id, time, command_id, user_id, trigger, purpose, step, variant, decided_at, kind, provider,
                        hard, machine, evidence, url)
SELECT md5('e' || n || 'x' || k), at + INTERVAL '1 minute' * (2 + (n * 13 + k * 71) %% 700), command_id, user_id, trigger,
       purpose, step, variant, at,
       CASE WHEN k < 2 THEN 'opened' WHEN n %% 499 = 0 THEN 'unsubscribed' ELSE 'clicked' END, provider, false,
       CASE WHEN n %% 7 = 0 THEN true WHEN k = 2 THEN false END,
       CASE WHEN n %% 7 = 0 THEN 'burst' WHEN k = 2 THEN 'navigation' ELSE 'proxy' END,
       CASE WHEN k = 2 THEN 'https://shop.example/' || n END
FROM day_commands, generate_series(0, 2) AS k
WHERE CASE k WHEN 0 THEN true WHEN 1 THEN n %% 3 < 2 ELSE n %% 3 = 0 END
ORDER BY 2;
