"""Tests of steering with root: the BPF programs, taps, namespaces and processes."""
