"""Tests through the whole path, with guests behind taps and a daemon that runs."""
