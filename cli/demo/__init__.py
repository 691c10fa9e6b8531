"""`ebbtide demo`: a real purchase log and a seeded crowd through the whole pipeline, then the books balanced."""
