"""trioagg: a record of the crypto market that can be trusted."""

__version__ = "0.1.0"
