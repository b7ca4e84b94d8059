"""Who is asking and what they may do: users, projects, memberships, tokens, actors, permissions."""
