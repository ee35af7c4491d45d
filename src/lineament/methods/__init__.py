"""The five methods; none imports another."""
