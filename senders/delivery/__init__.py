"""The delivery worker: it takes due commands, asks whether each may be sent, sends it and records the answer."""
