from django.db import migrations, models


class Migration(migrations.Migration):
    """Tables for what seals the trail. The sealer fills them by itself, from the first event on."""

    dependencies = [("audit", "0004_list_projects")]
    operations = [
        migrations.CreateModel(
            name="AuditCheckpoint",
            fields=[
                ("serial", models.BigIntegerField(primary_key=True, serialize=False)),
                ("stream", models.CharField(max_length=100)),
                ("first", models.BigIntegerField()),
                ("last", models.BigIntegerField()),
                ("at", models.CharField(max_length=32)),
                ("previous", models.CharField(max_length=64)),
                ("hash", models.CharField(max_length=64)),
                ("links", models.CharField(max_length=64)),
                ("parent", models.CharField(max_length=64)),
                ("key", models.CharField(max_length=16)),
                ("signature", models.CharField(max_length=88)),
                ("values_at", models.BinaryField()),
            ],
            options={
                "ordering": ("serial",),
                "constraints": [
                    models.UniqueConstraint(fields=("stream", "first"), name="audit_seals_begin_once"),
                    models.UniqueConstraint(fields=("stream", "last"), name="audit_seals_end_once"),
                ],
            },
        ),
        migrations.CreateModel(
            name="AuditKey",
            fields=[
                ("key", models.CharField(max_length=16, primary_key=True, serialize=False)),
                ("public", models.CharField(max_length=44)),
                ("at", models.CharField(max_length=32)),
                ("by", models.CharField(blank=True, max_length=16)),
                ("signature", models.CharField(blank=True, max_length=88)),
            ],
            options={"ordering": ("at",)},
        ),
        migrations.CreateModel(
            name="Lease",
            fields=[
                ("name", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("owner", models.CharField(blank=True, max_length=64)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
    ]
