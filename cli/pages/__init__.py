"""Pages that are generated from the code: the language reference and the JSON Schemas."""
