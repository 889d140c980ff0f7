"""Assigns domains to taps; starts the workers, feeds them and replaces them."""
