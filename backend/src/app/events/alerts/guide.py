"""What to do about each alert, by its code: sections of ``docs/operations.md``, for whoever has only a telephone."""

from __future__ import annotations

from collections.abc import Mapping

WHAT_TO_DO: Mapping[str, str] = {
    "protection_failed": (
        "A position could not be given its stop before the deadline. With `TES_PROTECTION_ON_FAILURE=close` it "
        "is being closed at market: see that it ends flat. With `alert` it is still tried: set a stop by hand at "
        "the exchange, or `tes close`."
    ),
    "take_profit_missing": (
        "The stop stands, and the exchange refuses the target. It is still tried. Look at the reason: the exchange "
        "takes 10 conditional orders on most symbols, whoever placed them. With `TES_PROTECTION_ON_TP_FAILURE=close` "
        "such a position is closed."
    ),
    "exit_for_too_much": (
        "The position became smaller, and the exchange does not take a stop or target of its new size. The larger one "
        "stays: it can't execute more than is held. The smaller one is still tried. Look at the reason: the exchange "
        "takes 10 conditional orders on most symbols, whoever placed them. Cancel one that is not needed."
    ),
    "stop_not_filled": (
        "The market jumped over a limit stop, or had no counter-offers for it. The position is being closed at market: "
        "see that it ends flat. `TES_PROTECTION_SL_TYPE=STOP_MARKET` has no limit to jump over."
    ),
    "position_unexplained": (
        "The exchange shows a position that only an entry without an answer explains, and does not show that order. It "
        "counts as that entry: its stop and target are placed, and the decision stays pending until the exchange shows "
        "what it is. Look at the exchange's own page: if a person opened the position, close or keep it by hand."
    ),
    "position_explained": (
        "A position that counted as an entry of ours turned out not to be one, or it is gone. What is held has no stop "
        "of ours: look at it, and set a stop by hand if it has none."
    ),
    "protection_disappeared": (
        "An exit that stood on the book is gone, and nobody here canceled it. It is being placed again. Did a "
        "person cancel it? If it happens again, look at the exchange's announcements about that asset."
    ),
    "close_failing": (
        "A close was refused or not filled. It is tried until the position is flat. Look whether the asset still "
        "trades and has a book; close by hand at the exchange if you must: the service sees it."
    ),
    "dust_left": (
        "A position of hedge mode is worth less than the exchange's smallest order, and the exchange does not take "
        "an order that closes it. The result of the close says `notional_below_minimum`; a stop that rests stays. "
        "The service tries again every minute, and closes it as soon as the price makes it worth enough. To end it "
        "now, close the position at the exchange's website: the service sees it. Until then the asset takes no new "
        "entry."
    ),
    "close_blocked": (
        "The exchange refuses to close because resting orders that are not ours cover the position; the message "
        "names them. With `TES_PROTECTION_FOREIGN_ORDERS=plain` the position is being closed all the same, with "
        "`cancel` those orders are canceled first. With `alert`, and always in hedge mode, cancel them by hand, or "
        "close by hand: our stop stays until then."
    ),
    "close_overshot": (
        "Somebody reduced the position in the moment in which it was closed, so a part of the close opened the other"
        " side. That is being taken back: see that `tes positions` shows the asset flat, or with nothing but what is "
        "yours."
    ),
    "closed_by_exchange": (
        "The exchange liquidated or deleveraged a position. Nothing is left to do about it. Lower the leverage "
        "before the next."
    ),
    "margin_call": "The exchange warns of liquidation: add margin or reduce the position now.",
    "adjustment_failed": (
        "A change to a position's exits was refused; the exits from before still stand. Send the adjustment again"
        " with prices that the exchange takes."
    ),
    "late_fill": (
        "An order that had been given up was executed after all. The trade is open again and being protected or "
        "closed; the result was corrected. Compare `tes positions` with the exchange."
    ),
    "contradiction": (
        "The exchange said something that can't follow from what it said before. The trade was left as it was. "
        "Compare the position at the exchange with `tes trades`, run `tes reconcile`, and report it with the log."
    ),
    "internal_error": (
        "A step of the service failed unexpectedly; the rest goes on. The log has the traceback: report it. `tes "
        "reconcile` shows whether record and exchange still agree."
    ),
    "position_contradicts": (
        "A decision or an alert said what it takes to be held, and something else is; nothing was sent. Compare "
        "`tes positions` with what the engine or the strategy believes, and put the one right that is wrong."
    ),
    "webhook_refused": (
        "An alert of TradingView was refused, and its sender throws the answer away. The message says why; each "
        "refusal is a `WebhookRefused` event. Mend the alert's message, its secret or its address. Close by hand what "
        "it meant to close."
    ),
    "halted": (
        "The service stopped taking entries by itself; the message says why: a refused key, a stop refused for an"
        " unknown reason, or three emergency closes within ten minutes. Find the cause, then `tes resume`."
    ),
    "rate_limited": (
        "The exchange had too many requests from this address; nothing at all is sent for the seconds told, exits"
        " included. Stop other programs on this address, or give them another one. A page of the exchange's firewall"
        " (403 without an error code) is answered the same way, for ten seconds at first and two minutes at most: it"
        " says nothing of the key."
    ),
    "banned": (
        "The exchange has banned this address for the time told; nothing is sent, exits included. Positions have "
        "what rests on the book. Watch them at the exchange's own page from elsewhere. Do not restart again and "
        "again: the service remembers."
    ),
    "clock_astray": (
        "The exchange's clock moved, or this machine's is off it. Requests follow the exchange's. Set this "
        "machine's by NTP."
    ),
    "asset_not_trading": (
        "An asset that we hold is not traded at the moment. Its exits rest where they were; watch the exchange's "
        "announcements."
    ),
    "external_unprotected": (
        "A position that the service did not open could not be given the stop that "
        "`TES_RECONCILE_EXTERNAL_POSITIONS=protect` asks for. Set one by hand."
    ),
    "database_unavailable": (
        "The database takes no writes: nothing is opened, exits go on. The message says why: a full disk, a "
        "server that is away. Mend that; the service goes on by itself. Where the message says that nothing is sent, "
        "exits included, this process can't know whether another one trades the accounts by now: the server can't be "
        "reached, or hangs. Positions keep what rests on the book; close by hand at the exchange if you must."
    ),
    "database_recovered": "It does again. Look at `tes reconcile` once.",
    "taken_over": (
        "A process that traded an account stopped renewing its lease, and this one trades now. Find out why that "
        "one ended."
    ),
    "trading_given_up": (
        "A process that owned the accounts could not begin to trade, or could not go on; the message says why. It "
        "has given the accounts back and ended with an exit code, so that a supervisor starts it again, or a second "
        "process takes over. Positions keep what rests on the book. If it comes back again and again, mend what the "
        "message names."
    ),
    "record_unreadable": (
        "A row of the database holds a value that this version does not know: a newer version wrote it, or somebody "
        "changed the file. The message names the row. An ended trade or an event is only left out. The service can't "
        "look after an open trade whose row it can't read: its orders stay on the book and the position counts as "
        "not ours. See that it has its stop, close it at the exchange's website if you must, and run the version that "
        "wrote the row."
    ),
    "ownership_lost": (
        "Another process has taken over while this one was frozen or cut off; this one has stopped trading. Find "
        "out why, then start it again to stand by."
    ),
}
"""A test holds each text against its section."""
