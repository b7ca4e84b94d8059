from django.apps import AppConfig


class TeamsConfig(AppConfig):
    name = "agents.teams"
    label = "teams"
