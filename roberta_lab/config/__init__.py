"""The typed config of a run, and the errors that a user's mistake raises: all names of these modules."""

from roberta_lab.config.circumstance import *  # noqa: F403
from roberta_lab.config.cluster_circumstance import *  # noqa: F403
from roberta_lab.config.errors import *  # noqa: F403
from roberta_lab.config.machine import *  # noqa: F403
from roberta_lab.config.schema import *  # noqa: F403
