from django.apps import AppConfig


class UsageConfig(AppConfig):
    name = "agents.usage"
    label = "usage"
