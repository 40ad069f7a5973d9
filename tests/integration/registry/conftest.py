from tests.logging_kept import logging_kept

__all__ = ["logging_kept"]
