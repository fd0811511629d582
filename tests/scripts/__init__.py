"""What the scripts consist of."""
