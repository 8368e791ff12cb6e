"""Runs and tables in Weights & Biases, which mirrors the files of runs."""
