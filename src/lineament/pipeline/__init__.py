"""What a user asks of several methods together."""
