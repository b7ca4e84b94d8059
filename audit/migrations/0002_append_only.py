from django.db import migrations

from audit.protection import EVENTS, protect, unprotect


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [
        migrations.RunPython(
            lambda apps, editor: protect(editor.connection, [EVENTS]),
            lambda apps, editor: unprotect(editor.connection),
        ),
    ]
