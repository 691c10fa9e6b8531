"""`ebbtide demo`: a real purchase log and simulated customers through the whole pipeline, whose books must balance."""
