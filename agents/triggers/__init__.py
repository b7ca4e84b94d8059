"""A message or a run at a later time: once, or by cron. Each has a history, can be paused, and gives up after some
failures in a row.
"""
