from django.db import migrations, models


class Migration(migrations.Migration):
    """By plain SQL: Django would copy the whole table on SQLite, and lose its triggers."""

    dependencies = [("audit", "0002_append_only")]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE audit_auditevent ADD COLUMN artifact varchar(64) DEFAULT '' NOT NULL",
                    "ALTER TABLE audit_auditevent DROP COLUMN artifact",
                ),
            ],
            state_operations=[
                migrations.AddField(
                    model_name="auditevent",
                    name="artifact",
                    field=models.CharField(blank=True, db_default="", max_length=64),
                ),
            ],
        ),
    ]
