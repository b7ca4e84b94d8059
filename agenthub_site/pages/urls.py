from django.urls import path

from . import nodes, tokens, trail, views

urlpatterns = [
    path("", views.home, name="home"),
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
    path("projects/<slug:slug>/audit/", trail.trail, name="trail"),
    path("projects/<slug:slug>/members/", views.add_member, name="add_member"),
    path("projects/<slug:slug>/members/<uuid:membership_id>/remove/", views.remove_member, name="remove_member"),
    path("nodes/", nodes.nodes, name="nodes"),
    path("nodes/join/", nodes.join, name="join_node"),
    path("nodes/<uuid:node_id>/", nodes.node, name="node"),
    path("nodes/<uuid:node_id>/test/", nodes.test, name="test_node"),
    path("nodes/<uuid:node_id>/revoke/", nodes.revoke, name="revoke_node"),
    path("nodes/<uuid:node_id>/<slug:verb>/", nodes.change, name="change_node"),
    path("nodes/<str:slug>/", nodes.node_by_name, name="node_by_name"),
    path("tokens/", tokens.tokens, name="tokens"),
    path("tokens/<uuid:token_id>/revoke/", tokens.revoke_token, name="revoke_token"),
]
