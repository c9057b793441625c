"""From a recipe and a mart to an adapter version with manifest and card."""

from harness.tune.build import Inputs, Tuned, TuneRequest, built, finetune, inputs_of
from harness.tune.rebuild import Rebuilt, rebuild
from harness.tune.stored import Fetched, fetch_adapters
from harness.tune.verify import Verified, verify_adapters

__all__ = [
    "Fetched",
    "Inputs",
    "Rebuilt",
    "TuneRequest",
    "Tuned",
    "Verified",
    "built",
    "fetch_adapters",
    "finetune",
    "inputs_of",
    "rebuild",
    "verify_adapters",
]
