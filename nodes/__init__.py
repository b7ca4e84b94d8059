"""The machines that execute runs: registry, link, certificates, commands; and, free of Django, the node itself.

``contract``, ``link``, ``runtimes`` and ``server`` run on nodes and import no Django. What runs mean is left to
``agents``.
"""
