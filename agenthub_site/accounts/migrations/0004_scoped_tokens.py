import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_service_accounts")]

    operations = [
        migrations.AddField(
            model_name='token',
            name='agent_id',
            field=models.UUIDField(blank=True, db_index=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name='token',
            name='agent_label',
            field=models.CharField(blank=True, db_default='', default='', editable=False, max_length=150),
        ),
        migrations.AddField(
            model_name='token',
            name='made_with',
            field=models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='made', to='accounts.token'),
        ),
        migrations.AddField(
            model_name='token',
            name='project',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='tokens', to='accounts.project'),
        ),
        migrations.AddField(
            model_name='token',
            name='scope',
            field=models.CharField(db_default='all', default='all', max_length=400),
        ),
        migrations.AlterField(
            model_name='token',
            name='user',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='tokens', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddConstraint(
            model_name='token',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('agent_id', None), ('user__isnull', False)), models.Q(('agent_id__isnull', False), ('project__isnull', False), ('user', None)), _connector='OR'), name='a_token_speaks_for_a_user_or_for_an_agent_in_its_project'),
        ),
    ]
