"""Data sets to judge methods on, read from where their owners publish them."""
