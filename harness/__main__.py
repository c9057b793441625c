"""``python -m harness``: the same as ``signoff``."""

import sys

from harness.cli import main

sys.exit(main())
