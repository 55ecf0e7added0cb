"""The version of the package, for rooms that may not import it whole."""

__version__ = "0.1.0"
