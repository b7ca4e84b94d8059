"""What actors write to each other: messages, and one numbered inbox per recipient with a delivery for each of them.

Actors are (kind, id), without foreign keys upwards: who belongs to a team, and who may write to whom, is known above.
"""
