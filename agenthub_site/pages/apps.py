from django.apps import AppConfig


class PagesConfig(AppConfig):
    name = "agenthub_site.pages"
    label = "pages"
