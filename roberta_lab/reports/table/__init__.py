"""A sweep's runs as the rows and columns of a table, and its forms as text."""
