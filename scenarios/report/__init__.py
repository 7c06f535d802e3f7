"""From a run's result to what a person or a program reads."""
