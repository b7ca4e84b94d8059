"""What runs used: tokens and cost of each, by day, what they may cost, and what happens when that is spent.

Filled by ``ingest`` in the transaction that stores a run's events; read by pages, REST and the command line.
"""
