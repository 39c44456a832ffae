"""How a network runs, and the files that describe networks."""
