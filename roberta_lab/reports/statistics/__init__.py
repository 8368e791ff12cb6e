"""What seeds can tell about a difference: paired t intervals and tests, many of them at once, power, and seeds x items."""
