"""Every key design on trial: one battery, one attacker's view, one list of attacks, and their tables."""
