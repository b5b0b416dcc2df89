"""What is missing, told by the exchanges' own numbering. Pure: no I/O, no clock."""
