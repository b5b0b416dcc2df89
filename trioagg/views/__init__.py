"""Views: rows become something to look at.

A file in this folder is one way of looking: it takes the rows that the store's reading side gives and returns or draws
text, pictures or pages; it opens no database and decides nothing. Heavy libraries are imported where they are
used, inside functions, so that a command that shows nothing never waits for them.
"""
