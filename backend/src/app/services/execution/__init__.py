"""The path of a decision: intake, planning, risk, submission, fills, protection, exits, reconciliation.

Start with :mod:`app.services.execution.service`; it reads like a table of contents.
"""
