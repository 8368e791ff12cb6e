"""Scores of predictions, as the tasks' official definitions have them."""
