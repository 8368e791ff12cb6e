"""Runs: composing their configs, their ids and folders, sweeps of them, and where their metrics go."""
