"""One file per command of ``blkcrypto`` that ``scenarios.cli`` does not hold itself."""
