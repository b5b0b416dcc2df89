"""How fast trioagg is, beside a naive loop and the floor: ``python -m bench`` measures, ``RESULTS.md`` tells."""
