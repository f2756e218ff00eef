"""Maintenance and restarts: the venue as a whole is not there for a while."""

from __future__ import annotations

from aiohttp import web

from aster_sim.faults import Action
from aster_sim.http.answers import fault_response
from aster_sim.runtime import Runtime


class Outages:
    """Closes what an outage closes, and refuses what comes while it lasts."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._begun = 0

    def look(self) -> Action | None:
        """The outage in force; sockets and listen keys end when it begins."""
        found = self._runtime.faults.outage()
        if found is None:
            return None
        number, action = found
        if number != self._begun:
            self._begun = number
            self._runtime.hub.hang_up_all()
            if action.type == "restart":
                self._runtime.hub.forget_keys()
        return action

    def refuse(self, request: web.BaseRequest) -> web.Response | None:
        """The answer to a request during an outage; None when the venue serves."""
        action = self.look()
        if action is None:
            return None
        if action.type == "restart" and request.transport is not None:
            request.transport.abort()
        return fault_response(action)
