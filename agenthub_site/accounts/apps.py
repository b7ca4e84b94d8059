from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "agenthub_site.accounts"
    label = "accounts"
    verbose_name = "People and projects"

    def ready(self) -> None:
        from django.contrib.auth.signals import user_logged_in, user_logged_out

        from .login import note_login, note_logout
        from .mfa import trail

        user_logged_in.connect(note_login, dispatch_uid="accounts.note_login")
        user_logged_out.connect(note_logout, dispatch_uid="accounts.note_logout")
        trail.listen()
