"""docs/asyncapi.yaml: every topic, made of the records as `schemas` and the registry define them.

`python -m engine.asyncapi > docs/asyncapi.yaml`; a test proves that the file is current.

- `document.py`: the document; `text` is the file.
- `examples.py`: a record of each kind as the encoders write it, so that the document cannot promise
  what is not sent.
"""

from engine.asyncapi.document import addresses, document, text

__all__ = ["addresses", "document", "text"]
