"""Mail between agents, people and nodes, as the doors see it: who may write to whom, and in which words."""
