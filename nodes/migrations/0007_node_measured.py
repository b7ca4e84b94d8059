from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("nodes", "0006_join_token"),
    ]

    operations = [
        migrations.AddField(
            model_name="node",
            name="measured",
            field=models.JSONField(blank=True, default=dict, editable=False),
        ),
    ]
