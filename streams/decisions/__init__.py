"""The trigger core as steps of the runtime: records in, decisions and commands out."""
