"""How Ebbtide runs: command line, local servers, migrations, demo. The composition root."""
