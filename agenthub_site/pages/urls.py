from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("login/", LoginView.as_view(template_name="pages/login.html", redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("runs/", views.runs, name="runs"),
    path("runs/new/", views.new_run, name="new_run"),
    path("runs/<uuid:run_id>/", views.run, name="run"),
    path("runs/<uuid:run_id>/cancel/", views.cancel, name="cancel_run"),
    path("approvals/", views.approvals, name="approvals"),
    path("approvals/badge/", views.badge, name="approvals_badge"),
    path("approvals/<uuid:approval_id>/decide/", views.decide, name="decide_approval"),
    path("agents/", views.agents, name="agents"),
    path("agents/new/", views.new_agent, name="new_agent"),
    path("agents/<uuid:agent_id>/", views.agent, name="agent"),
    path("agents/<uuid:agent_id>/edit/", views.change_agent, name="edit_agent"),
    path("agents/<uuid:agent_id>/archive/", views.archive, name="archive_agent"),
    path("projects/", views.projects, name="projects"),
    path("projects/new/", views.new_project, name="new_project"),
    path("projects/<slug:slug>/", views.project, name="project"),
    path("projects/<slug:slug>/members/", views.add_member, name="add_member"),
    path("projects/<slug:slug>/members/<uuid:membership_id>/remove/", views.remove_member, name="remove_member"),
    path("nodes/", views.nodes, name="nodes"),
    path("tokens/", views.tokens, name="tokens"),
    path("tokens/<uuid:token_id>/revoke/", views.revoke_token, name="revoke_token"),
]
