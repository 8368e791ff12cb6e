"""`python -m roberta_lab`."""

import sys

from roberta_lab.cli import main

sys.exit(main())
