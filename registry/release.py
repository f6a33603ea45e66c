"""Where registries find the action that validates them: by commit, so it cannot change under them.

A release moves ACTION_COMMIT to a commit whose `action.yml` was tried; `medperf registry upgrade`
then proposes it to a registry.
"""

ACTION = "medperf/medperf"
ACTION_COMMIT = "72094ddd446e5ee1af939c11732b9aa31e2b3388"
