"""The verbs of coordination. Each locks its task first, moves by compare-and-set, and is in the trail."""
