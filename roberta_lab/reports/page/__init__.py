"""HTML pages: of a table, of all tables, of a corpus that is inspected."""
