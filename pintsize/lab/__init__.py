"""What judges methods and serves nothing: recommenders, data sets, experiments."""
