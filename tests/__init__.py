"""The tests; a file is a feature."""
