"""What becomes of committed events: whoever follows them live, and alerts to people."""
