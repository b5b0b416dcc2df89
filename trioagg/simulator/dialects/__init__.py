"""One file or folder per exchange, each with a class ``Dialect``."""
