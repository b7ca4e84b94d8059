from django.apps import AppConfig


class TriggersConfig(AppConfig):
    name = "agents.triggers"
    label = "triggers"
