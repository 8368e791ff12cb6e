"""What is shown of runs: tables beside the published numbers, figures, pages and plans."""
