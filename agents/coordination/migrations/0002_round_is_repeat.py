from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("coordination", "0001_initial")]

    operations = [
        migrations.AddField("round", "is_repeat", models.BooleanField(db_default=False, default=False, editable=False)),
        migrations.AlterField(
            "limits",
            "auto_create_next_round",
            models.BooleanField(
                default=False,
                help_text="After changes_requested or a rejection the next round opens by itself, with the same goals.",
            ),
        ),
    ]
