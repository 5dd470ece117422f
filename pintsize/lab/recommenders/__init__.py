"""The recommenders in which methods are judged: each takes its embeddings as an argument."""
