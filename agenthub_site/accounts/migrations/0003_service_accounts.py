import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_hub_secret")]

    operations = [
        migrations.AddField(
            model_name='user',
            name='service_of',
            field=models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='service_accounts', to='accounts.project'),
        ),
        migrations.AddConstraint(
            model_name='user',
            constraint=models.CheckConstraint(condition=models.Q(('service_of', None), models.Q(('is_staff', False), ('is_superuser', False)), _connector='OR'), name='a_service_account_is_no_operator'),
        ),
    ]
