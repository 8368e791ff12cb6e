"""Downstream tasks: reading them, finetuning on them, scoring, and predicting on new text."""
