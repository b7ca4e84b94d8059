"""Coordinated work: tasks, rounds, assignments, handoffs, reviews, and locks on what is shared.

Agents plan and work, a person says whether a plan is carried out. Messages are left to ``mailbox``, runs to ``agents``.
"""
