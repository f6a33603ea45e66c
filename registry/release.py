"""Where registries find the action that validates them: by commit, so it cannot change under them.

A release moves ACTION_COMMIT to a commit whose `action.yml` was tried; `medperf registry upgrade`
then proposes it to a registry.
"""

ACTION = "medperf/medperf"
ACTION_COMMIT = "7274b5f8968f626a69c4cef059a031e5fcd275f9"
