from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "agenthub_site"
    verbose_name = "AgentHub"
