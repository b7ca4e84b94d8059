import django.db.models.deletion
from django.db import migrations, models

import nodes.contract.ids


class Migration(migrations.Migration):
    dependencies = [("nodes", "0005_node_pool_and_cordon")]

    operations = [
        migrations.CreateModel(
            name="JoinToken",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=nodes.contract.ids.new_id, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("key", models.BinaryField(max_length=32)),
                ("created_by", models.CharField(max_length=150)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("expires_at", models.DateTimeField()),
                ("used_at", models.DateTimeField(blank=True, null=True)),
                (
                    "node",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="join_tokens", to="nodes.node"
                    ),
                ),
            ],
            options={"ordering": ("id",)},
        ),
    ]
