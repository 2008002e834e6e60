"""Loading: a file of any supported format to text and a map over it."""
