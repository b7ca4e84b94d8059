"""Bodies may hold prompts and secrets: those that nobody waits for an answer to are emptied."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def empty(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("nodes", "Command").objects.exclude(state="pending").exclude(body="").update(body="")


class Migration(migrations.Migration):
    dependencies = [("nodes", "0003_command_order_and_key")]

    operations = [migrations.RunPython(empty, migrations.RunPython.noop)]
