"""The verbs of agents, runs and approvals: the only code that changes them."""
