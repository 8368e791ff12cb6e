"""The plan of runs: what is there already, and what the rest would cost."""
