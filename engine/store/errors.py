"""What a store says when waiting will not help. When it will: `engine.ports.StoreUnavailable`."""


class StoreBroken(Exception):
    """The store answered something that no retry heals: wrong data, rights or configuration."""


class OtherFunctions(StoreBroken):
    """A library of our name and version is loaded, with other code."""
