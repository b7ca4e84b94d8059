"""The table behind Django's cache: what counts attempts must count them for all processes."""

from django.db import models


class CacheEntry(models.Model):
    """As Django's database cache has it; nothing else reads or writes it."""

    cache_key = models.CharField(max_length=255, primary_key=True)
    value = models.TextField()
    expires = models.DateTimeField(db_index=True)

    class Meta:
        app_label = "accounts"
        db_table = "accounts_cache"

    def __str__(self) -> str:
        return self.cache_key
