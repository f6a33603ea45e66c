"""What MedPerf's users would type that has no meaning here, and what to do instead.

Commands and options that mean the same are taken under MedPerf's spelling, where they are declared.
This table answers the rest. It is read only when a name was not found, so it costs no start.
"""

_ACCOUNTS = (
    "There are no accounts here: you are your key, and the registry's owners' files say whose keys "
    "count. 'medperf login REGISTRY --owner … --member …' makes a key and asks to be enrolled; "
    "'medperf status' says who you are; 'medperf profile delete' forgets a registry."
)
_TRAINING = (
    "Federated training is no part of this program: it benchmarks models. MedPerf's own client "
    "has it."
)
_ENCRYPTED = (
    "Encrypted containers do not run here, since nobody could say what ran. Who may read an image "
    "is decided where it is hosted: give an address that only the sites reach."
)
_CONTAINER = "A container is called a cube here: 'medperf mlcube', with the same commands."
_RESULT = (
    "Give 'medperf benchmark run --benchmark B --data_uid D --model M'; then 'medperf result "
    "submit --result <B>.<M>.<D>' shows what would leave, and asks."
)
_POLICY = (
    "Give 'medperf benchmark settings B --approve-models RULE --approve-datasets RULE'; a rule is "
    "never, always, or owners between commas."
)
_MEMBERS = (
    "Give 'medperf benchmark settings B --add-member OWNER/MEMBER', --remove-member, --threshold."
)

COMMANDS: dict[str, dict[str, str]] = {
    "medperf": {
        "auth": _ACCOUNTS,
        "logout": _ACCOUNTS,
        "run": _RESULT,
        "execution": _RESULT,
        "model": _CONTAINER,
        "training": _TRAINING,
        "aggregator": _TRAINING,
        "ca": _TRAINING,
        "certificate": _TRAINING,
        "confidential": _ENCRYPTED,
        "cc": _ENCRYPTED,
        "asset": "Files are named by their address and digest in a cube's manifest: 'medperf "
        "mlcube submit --additional-file URL'.",
        "web-ui": "There is no web page of this program: the registry's forge shows proposals, and "
        "'medperf proposal ls' lists them.",
        "get-webui-properties": "There is no web page of this program: 'medperf proposal ls'.",
    },
    "medperf mlcube": {
        "edit": "What is merged never changes. Texts and mirrors are in 'medperf mlcube settings'; "
        "a new version is a new cube: 'medperf mlcube submit --replaces OWNER/NAME'.",
        "grant-access": _ENCRYPTED,
        "give-access": _ENCRYPTED,
        "auto-grant-access": _ENCRYPTED,
        "revoke-user-access": _ENCRYPTED,
        "check-access": _ENCRYPTED,
        "delete-keys": _ENCRYPTED,
        "associate-with-ca": _ENCRYPTED,
    },
    "medperf dataset": {
        "prepare": "'medperf dataset create' prepares; given again, it goes on where it was.",
        "set-operational": "There is no such state: a dataset is in operation once its proposal is "
        "merged ('medperf dataset submit', then 'medperf proposal merge').",
        "activate": "There is no such state: a dataset is in operation once its proposal is "
        "merged ('medperf dataset submit', then 'medperf proposal merge').",
        "train": _TRAINING,
        "edit": "What is merged never changes; texts are in 'medperf dataset settings'.",
    },
    "medperf benchmark": {
        "update-associations-policy": _POLICY,
        "update-committee-members": _MEMBERS,
        "edit": "What is merged never changes; what may is in 'medperf benchmark settings'.",
        "activate": "Give 'medperf benchmark settings B --active'.",
        "deactivate": "Give 'medperf benchmark settings B --inactive'.",
    },
    "medperf association": {
        "set-priority": "Give 'medperf association priority', with the same options.",
        "sign": "Give 'medperf association approve': it signs, and merges what waits for nobody.",
    },
    "medperf result": {
        "create": _RESULT,
        "show-local-results": "Give 'medperf result view <benchmark>.<model>.<dataset>'.",
    },
    "medperf profile": {
        "create": "A profile is made by logging in: 'medperf login REGISTRY --name PROFILE'.",
        "unset": "Give the default: 'medperf profile set FIELD=VALUE'. 'medperf profile view' "
        "shows all fields.",
    },
}

_NEVER_CHANGED = "It is not given here: digests and sizes are computed from the file, and pinned."
_LOCAL = "What is not registered yet is a proposal: 'medperf proposal ls'."
_FORMAT = "Give --json for JSON; without it the answer is YAML or a table."
_OUTPUT = "Answers go to standard output: add '> FILE'."
_STATES = "There are no such states: what 'ls' lists is merged and in operation."
_GREP = "Filter what is printed: 'medperf … ls --json | jq', or grep."
_NO_TEST = "A proposal always carries its test, so that its readers can repeat it."

_VIEW = {
    "--format": _FORMAT,
    "-f": _FORMAT,
    "--output": _OUTPUT,
    "-o": _OUTPUT,
    "--unregistered": _LOCAL,
    "--local": "Name what you want to see; 'ls' has the names.",
    "--mine": "Name what you want to see; 'ls --mine' has the names.",
}
_FILTERS = {
    "--all": "All are listed without it; --mine lists yours.",
    "--name": _GREP,
    "-n": _GREP,
    "--owner": _GREP,
    "--state": _STATES,
    "--active": _GREP,
    "--inactive": _GREP,
    "--is-valid": _GREP,
    "--data-prep": _GREP,
}
_LS = {
    **_FILTERS,
    "--unregistered": _LOCAL,
    "--local": "None of these is only local: a proposal is in 'medperf proposal ls'.",
}
_KIND = "Each line names the benchmark and the model or dataset. Filters: --pending, --approved, …"

OPTIONS: dict[str, dict[str, str]] = {
    "medperf": {
        "--platform": "The engine is the profile's: 'medperf profile set engine=singularity', or "
        "--engine where the command has it.",
        "--gpus": "GPUs are the profile's: 'medperf profile set limits.gpus=[0,1]'.",
        "--shm-size": "A cube says what it needs: 'medperf mlcube submit --shm 1Gi'.",
        "--loglevel": "Each task's log is kept whole; 'medperf explain' and 'status' say where.",
        "--container-loglevel": "Each task's log is kept whole.",
        "--cleanup": "Nothing is left behind; 'medperf storage cleanup' makes room.",
        "--no-cleanup": "Nothing is thrown away that is not made again; see 'medperf storage ls'.",
        "--server": "There is no server: the registry's address is given once, to 'medperf login'.",
        "--certificate": "There is no server: Git's own settings say which certificates count.",
        **{
            f"--{task}-timeout": "Time limits are the profile's: 'medperf profile set "
            f"limits.timeout.{task.replace('-', '_')}=3600'."
            for task in ("prepare", "sanity-check", "statistics", "infer", "evaluate")
        },
    },
    "medperf mlcube submit": {
        "--mlcube-hash": _NEVER_CHANGED,
        "--container-config-hash": _NEVER_CHANGED,
        "--parameters-hash": _NEVER_CHANGED,
        "--additional-hash": _NEVER_CHANGED,
        "--image-hash": _NEVER_CHANGED,
        "--decryption-key": _ENCRYPTED,
        "--ca-id": _ENCRYPTED,
        "--ca-ids": _ENCRYPTED,
    },
    "medperf mlcube create": {
        "--image": "Write the image's name into the mlcube.yaml that is made.",
        "-i": "Write the image's name into the mlcube.yaml that is made.",
        "--folder-name": "Give --output DIR.",
        "-f": "Give --output DIR.",
    },
    "medperf mlcube run-test": {
        "--mounts": "Give --input KEY=PATH for each input, and --output DIR for all outputs.",
        "--parameters-file-path": "It is workspace/parameters.yaml beside the MLCube file.",
        "--additional-files-path": "They are workspace/additional_files beside the MLCube file.",
        "-o": "The log is in the folder that --output names.",
        "--output-logs": "The log is in the folder that --output names.",
        "--timeout": "Time limits are the profile's: "
        "'medperf profile set limits.timeout.infer=60'.",
        "--env": "A task's environment is fixed: say what it needs in container_config.yaml "
        "(run_args.environment).",
        "-e": "A task's environment is fixed: say what it needs in container_config.yaml "
        "(run_args.environment).",
        "--ports": "A task has no network here, as at every site.",
        "-P": "A task has no network here, as at every site.",
        "--allow-network": "A task has no network here, as at every site.",
        "--download": "An image is pulled by its digest where it is not here yet.",
    },
    "medperf mlcube ls": _LS,
    "medperf mlcube view": _VIEW,
    "medperf dataset ls": {
        **_FILTERS,
        "--mlcube": _GREP,
        "-m": _GREP,
        "-p": _GREP,
    },
    "medperf dataset view": _VIEW,
    "medperf dataset create": {
        "--data-prep": "Name the benchmark: its preparator prepares.",
        "-p": "Name the benchmark: its preparator prepares.",
        "-y": "Nothing is asked: nothing leaves. 'medperf dataset submit' asks.",
        "--yes": "Nothing is asked: nothing leaves. 'medperf dataset submit' asks.",
    },
    "medperf dataset submit": dict.fromkeys(
        (
            "--name",
            "--description",
            "--location",
            "--data-path",
            "--labels-path",
            "--metadata-path",
            "--data-prep",
            "--benchmark",
            "--submit-as-prepared",
            "-b",
            "-p",
            "-l",
            "-m",
        ),
        "Prepare first, with the same options: 'medperf dataset create'. Then 'medperf dataset "
        "submit --data_uid NAME' proposes the metadata.",
    ),
    "medperf dataset associate": {
        "--no-cache": "To run the reference model again: 'medperf benchmark run --benchmark B "
        "--data_uid D --model M --no-cache'."
    },
    "medperf dataset import": {
        "--data-uid": "The file says which dataset it is.",
        "-d": "The file says which dataset it is.",
        "--raw-dataset-path": "Only prepared data are moved; raw data are copied as any files are.",
    },
    "medperf benchmark ls": _LS,
    "medperf benchmark view": _VIEW,
    "medperf benchmark submit": {
        "--docs-url": "Put the address into --description.",
        "-u": "Put the address into --description.",
        "--demo-hash": _NEVER_CHANGED,
        "--skip-demo-data-preparation": "A demo dataset is raw data: a preparator that takes "
        "prepared data as they are will do.",
        "--skip-data-preparation-step": "A demo dataset is raw data: a preparator that takes "
        "prepared data as they are will do.",
        "--skip-compatibility-tests": _NO_TEST,
        "--force-test": "The test is run anew whenever anything in it has changed.",
    },
    "medperf benchmark associate": {"--force-test": "Give --no-cache."},
    "medperf benchmark run": {
        "--rerun-finalized": "A published result is never changed, and its run is made once. Is it "
        "wrong: 'medperf result withdraw'. New data or a new model is a new run.",
    },
    "medperf test run": {
        "--demo-dataset-hash": _NEVER_CHANGED,
        "--use-local-model-image": "An image that is named by a tag is taken from your engine as "
        "it is, without a pull.",
    },
    "medperf test ls": dict.fromkeys(
        ("--local", "--mine", "--unregistered"), "All reports are of this machine."
    ),
    "medperf test view": _VIEW,
    "medperf association ls": {
        "--approval-status": "Give --pending, --approved, --revoked or --rejected.",
        "-b": _KIND,
        "-d": _KIND,
        "-m": _KIND,
        "-t": _TRAINING,
    },
    "medperf association approve": {"--training-exp": _TRAINING, "-t": _TRAINING},
    "medperf association reject": {"--training-exp": _TRAINING, "-t": _TRAINING},
    "medperf result view": {
        **_VIEW,
        "--benchmark": "Name the result: <benchmark>.<model>.<dataset>; 'ls' has the names.",
        "-b": "Name the result: <benchmark>.<model>.<dataset>; 'ls' has the names.",
    },
    "medperf result submit": dict.fromkeys(
        ("--benchmark", "-b", "--data-uid", "-d", "--model-uid", "-m"),
        "Name the result: --result <benchmark>.<model>.<dataset>; 'medperf result ls --local' has "
        "the names.",
    ),
}
OPTIONS["medperf profile set"] = OPTIONS["medperf"]


def command_instead(group: str, name: str) -> str | None:
    """What to do instead of the command `name` of `group`, say `medperf dataset`; or None."""
    group = group.replace("medperf container", "medperf mlcube")
    return COMMANDS.get(group, {}).get(name.lower().replace("_", "-"))


def option_instead(command: str, option: str) -> str | None:
    """What to do instead of an option of `command`; None if MedPerf's client has no such option."""
    command = command.replace("medperf container", "medperf mlcube")
    return OPTIONS.get(command, {}).get(option.replace("_", "-"))
