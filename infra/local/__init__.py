"""The local servers, as native processes or as containers, behind one small interface."""
