"""Production: check, settle, load beside, verify, swap. Imports no pytest, coverage, xdist or watchfiles."""
