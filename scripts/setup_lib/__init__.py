"""The steps of scripts/setup. Standard library only, Python 3.9 or later."""
