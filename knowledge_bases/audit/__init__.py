"""The log of answers: what a record holds, and how it is written out."""
