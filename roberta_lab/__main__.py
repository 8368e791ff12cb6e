"""`python -m roberta_lab`."""

import sys

from roberta_lab.cli.main import main

sys.exit(main())
