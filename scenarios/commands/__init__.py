"""One file per command of ``blkcrypto``, and what several of them share: options and exit statuses."""
