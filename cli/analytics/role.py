"""The role of analysts, and what a session of it begins with."""

ROLE = "ebbtide_analyst"
LONGEST_MS = 60_000
"""How long a question may take. Those of the page take less than a second on a million rows
(perf/results/analytics.jsonl); the server is not ours alone."""
OPTIONS = (
    f"-c role={ROLE} -c default_transaction_read_only=on -c statement_timeout={LONGEST_MS} -c timezone=UTC "
    "-c search_path=analytics,public"
)
"""What a session of the role begins with."""
