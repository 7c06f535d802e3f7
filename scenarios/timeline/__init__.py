"""A run as a timeline that Perfetto's viewer and chrome://tracing open (Chrome trace-event JSON)."""
