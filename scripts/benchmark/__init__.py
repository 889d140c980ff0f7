"""What ``scripts/bench`` measures; each kind in a module of its own."""
