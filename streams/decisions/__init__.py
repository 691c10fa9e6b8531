"""The trigger core as a processor of the runtime: records in, decisions and commands out."""
