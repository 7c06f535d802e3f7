"""The ext4 encryption drafted in 2014: a random key per file, wrapped for every user who may read it."""
