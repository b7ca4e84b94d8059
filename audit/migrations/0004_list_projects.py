from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_artifact")]
    operations = [
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(fields=["stream", "id"], name="audit_of_a_project_in_time"),
        ),
    ]
