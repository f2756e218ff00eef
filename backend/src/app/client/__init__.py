"""The service from another program: ``from app.client.service import connected`` (``docs/client.md``)."""
