"""EVE-OS's applications as domains, from the files that its agents publish."""
