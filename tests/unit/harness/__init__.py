"""Tests of the lab and of what the tests share with it."""
