"""Facts on the wire: one pydantic model a topic, the topics themselves, and the codec. No behaviour lives here."""
