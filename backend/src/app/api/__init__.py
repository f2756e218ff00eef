"""The HTTP and WebSocket face (contract, sections 6 and 7)."""
