"""Readers of text: one file for each kind of source."""
