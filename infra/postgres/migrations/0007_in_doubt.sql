-- Commands in doubt are few among millions of rows, and a gauge counts them every few seconds.

CREATE INDEX ledger_in_doubt ON ledger (partition) WHERE state = 'in_doubt';
