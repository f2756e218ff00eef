"""``tes replay``: recorded candles, a simple rule, the whole service, and two records that must be equal.

Read in this order: ``command`` (what is asked), ``processes`` (venue and service, each a process of its own),
``session`` (the lock-step of candles and decisions), ``rule`` (what is decided), ``audit`` (venue against record),
``report``.
"""
