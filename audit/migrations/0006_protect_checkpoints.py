from django.db import migrations

from audit.protection import EVENTS, protect, unprotect


def protect_all(apps, editor):
    unprotect(editor.connection)
    protect(editor.connection)


def protect_events(apps, editor):
    unprotect(editor.connection)
    protect(editor.connection, [EVENTS])


class Migration(migrations.Migration):
    """Checkpoints and keys as well; on SQLite also against ``INSERT OR REPLACE``."""

    dependencies = [("audit", "0005_checkpoints")]
    operations = [migrations.RunPython(protect_all, protect_events)]
