"""Contracts that a fake and the real thing both fulfil: the tests of each, run on both."""
