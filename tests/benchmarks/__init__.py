"""Every performance claim is one of these. ``make bench`` prints each figure with the machine's own limit beside it."""
