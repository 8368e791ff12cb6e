"""One file per command, each one short main."""
