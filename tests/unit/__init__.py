"""Tests without root and within seconds, one folder for each room of eve_meta."""
