"""The command line `ebbtide`: the composition root, which nothing imports."""
