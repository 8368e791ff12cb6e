"""Runs as jobs of SLURM: submitted and left. What became of them is read from their folders and from SLURM; nothing waits."""
