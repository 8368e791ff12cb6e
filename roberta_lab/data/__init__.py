"""Text on disk and in batches: the corpus, the token store, the data module, and how files are written safely."""
