"""Small embedding tables for recommender systems."""
