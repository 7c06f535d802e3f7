"""Contents that are authenticated as well as encrypted: where tags go, and what that detects and costs."""
