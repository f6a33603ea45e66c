"""Where registries find the action that validates them: by commit, so it cannot change under them.

A release moves ACTION_COMMIT to a commit whose `action.yml` was tried; `medperf registry upgrade`
then proposes it to a registry.
"""

ACTION = "medperf/medperf"
ACTION_COMMIT = "c448cb59c4b34b71a6ec8b921942d21532e22119"
