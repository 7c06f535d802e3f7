"""Which block of the device each byte of each file has: pure rules, for filesystems and for traces alike."""
