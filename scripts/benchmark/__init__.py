"""The measurements of ``scripts/bench``; each kind has a module of its own."""
