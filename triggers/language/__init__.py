"""Rule files: YAML with positions, the declared keys, documents, diagnostics."""
