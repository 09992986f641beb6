"""What host and agent agree on. Importing the package imports nothing."""
