-- part: What went out
-- asks: How many mails does each trigger send a day?
-- reads: Decisions to send, by UTC day. What delivery did with them is another question: funnel.
-- plot: lines x=day y=sends by=trigger
SELECT day, trigger, sum(sends) AS sends
FROM analytics.sends
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger'
GROUP BY day, trigger
ORDER BY day, trigger
