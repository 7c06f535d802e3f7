"""When keys of extents are set up, and what may be done there: variants V1 to V6 and the context checker."""
