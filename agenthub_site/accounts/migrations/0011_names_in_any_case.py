from collections import defaultdict

from django.db import migrations, models
from django.db.models.functions import Lower

from nodes.contract.errors import ConfigError


def require_names_that_differ(apps, schema_editor):
    """A constraint that does not hold would only be refused, without saying who is meant."""
    alike = defaultdict(list)
    people = apps.get_model("accounts", "User").objects.using(schema_editor.connection.alias)
    for name, lowered in people.order_by("date_joined").values_list("username", Lower("username")):
        alike[lowered].append(name)
    clashes = [names for names in alike.values() if len(names) > 1]
    if clashes:
        one = clashes[0][-1]
        raise ConfigError(
            "These users' names differ only in case, so that one may pass for the other: "
            + "; ".join(" and ".join(names) for names in clashes)
            + ". Nothing was changed. Rename all but one of each, in the registry of the version that you had, or by: "
            "agenthub manage shell -c \"from django.contrib.auth import get_user_model as m; "
            f"m().objects.filter(username='{one}').update(username='{one}-2')\". Then start again."
        )


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0010_required_network"),
    ]

    operations = [
        migrations.RunPython(require_names_that_differ, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.UniqueConstraint(
                Lower("username"),
                name="user_names_differ_in_more_than_case",
                violation_error_message="There is a user of that name, or of one that differs only in case, already.",
            ),
        ),
    ]
