"""Other tools' files as files of this project."""

from harness.run.importing.promptfoo import import_promptfoo
from harness.run.importing.record import Imported, Listed

__all__ = ["Imported", "Listed", "import_promptfoo"]
