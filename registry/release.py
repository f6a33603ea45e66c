"""Where registries find the action that validates them: by commit, so it cannot change under them.

A release moves ACTION_COMMIT to a commit whose `action.yml` was tried; `medperf registry upgrade`
then proposes it to a registry.
"""

ACTION = "medperf/medperf"
ACTION_COMMIT = "4e9cf9de19315db72f22df1823c010e67479633d"
