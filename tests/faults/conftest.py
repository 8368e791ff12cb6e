"""How many inputs are drawn: some for each test run, the same each time; more, and others, with ROBERTA_LAB_EXAMPLES=10000."""

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

NUMBER = int(os.environ.get("ROBERTA_LAB_EXAMPLES", 0))
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "roberta_lab_hypothesis")  # else a folder in the tree
settings.register_profile(
    "drawn",
    max_examples=NUMBER or 25,
    derandomize=not NUMBER,
    database=None,
    deadline=None,  # each reader has its own time limit
    print_blob=bool(NUMBER),
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("drawn")
