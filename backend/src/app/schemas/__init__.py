"""What crosses the wire: the decision that comes in and the result that goes out (contract, sections 4 and 5)."""
