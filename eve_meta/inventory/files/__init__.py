"""Domains from domain files, which are watched and checked."""
