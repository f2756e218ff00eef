"""A simulated AsterDEX: the exchange's REST and WebSocket API on a laptop, for any client.

This package never imports :mod:`app`; whoever wants a venue starts one through :mod:`aster_sim.server`.
"""
