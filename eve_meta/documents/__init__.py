"""What guests read: pure functions of a domain and a path."""
