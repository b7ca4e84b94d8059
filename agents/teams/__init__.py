"""Named groups of a project's agents and people, written to as one: ``team:docs``. Everybody is in ``team:all``."""
