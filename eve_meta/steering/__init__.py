"""Steering: brings a guest's packet to the worker and the answer back. The only code that touches the kernel."""
