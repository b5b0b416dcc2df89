"""What a run tells of itself while it runs: counts, health, and a small web server that shows them.

``metrics`` keeps the books, and is fed a batch at a time; ``health`` judges which feeds are live; ``exposition`` and
``status`` put both into words for machines; ``web`` serves pages. All but ``web`` only calculate.
"""
