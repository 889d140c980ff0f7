"""An EVE-OS node's applications as domains, from the files that EVE's agents publish."""
