"""`python -m engine.asyncapi > docs/asyncapi.yaml`."""

import sys

from engine.asyncapi import text

sys.stdout.write(text())
