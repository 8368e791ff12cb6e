"""`roberta-lab diff A B`: what two runs, or two rows of tables, differ in, and what came of it."""
