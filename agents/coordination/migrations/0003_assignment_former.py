import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agents", "0016_external_agents"), ("coordination", "0002_round_is_repeat")]

    operations = [
        migrations.AddField(
            "assignment",
            "former",
            models.ForeignKey(
                blank=True, editable=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+",
                to="agents.agent",
            ),
        ),
    ]
