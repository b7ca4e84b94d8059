from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "agents.webhooks"
    label = "webhooks"
