"""Everything that touches Faust: transport, tables, agents, recovery service, worker."""
