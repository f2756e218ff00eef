"""The venue's one port: REST, WebSocket and the control API, over aiohttp's low-level server."""
