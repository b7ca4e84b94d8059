"""Agents keep the nodes that they have: before routes, every project could use every node."""

from django.db import migrations


def keep_what_worked(apps, schema_editor):
    Agent, Route = apps.get_model("agents", "Agent"), apps.get_model("nodes", "Route")
    kept = {"created_by": "AgentHub", "note": "Kept from before there were routes."}
    agents = Agent.objects.filter(archived_at=None).exclude(node__slug="local").order_by("id")
    bound = agents.filter(node__isnull=False).values_list("project", "node").distinct().order_by()
    Route.objects.bulk_create(Route(project_id=project, node_id=node, **kept) for project, node in bound)
    asked = {}
    for project, pool, labels in agents.filter(node=None).values_list("project", "pool", "node_labels"):
        asked[project, pool, tuple(sorted(labels.items()))] = labels
    Route.objects.bulk_create(
        Route(project_id=project, pool=pool, labels=labels, **kept) for (project, pool, _), labels in asked.items()
    )


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0012_run_entry_and_reasons"),
        ("nodes", "0011_route"),
    ]

    operations = [migrations.RunPython(keep_what_worked, migrations.RunPython.noop)]
