from django.apps import AppConfig


class CoordinationConfig(AppConfig):
    name = "agents.coordination"
    label = "coordination"
