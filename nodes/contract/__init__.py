"""What hub, node and supervisor agree on: errors, limits, events, commands, records.

Pure Python, without Django and without gRPC, so that every process can import it.
"""
