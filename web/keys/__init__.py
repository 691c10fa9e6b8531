"""Write keys: who may send events, from where, and how many."""
