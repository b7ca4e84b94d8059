from django.apps import AppConfig


class CoordinationConfig(AppConfig):
    name = "agents.coordination"
    label = "coordination"

    def ready(self) -> None:
        from ..mail.bounds import say_posting
        from ..mail.hops import say_most_hops
        from .queries import limits_of
        from .services.messages import posting_for_task

        say_posting(posting_for_task)
        say_most_hops(lambda project_id: limits_of(project_id).max_hop_count)
