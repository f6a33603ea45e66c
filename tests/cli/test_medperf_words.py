"""What MedPerf's users type is taken under its spelling, or answered with what to do instead.

The table is what MedPerf's own client took between 2023 and 2026: every command, every option.
"""

import click
import pytest

from medperf.cli.app import cli
from medperf.cli.medperf_words import COMMANDS, OPTIONS, command_instead, option_instead

from .conftest import Desks, Types

VIEW = "-f --format --unregistered --local --mine -o --output"
LS = "--unregistered --local --mine"
FILTERS = f"{LS} -n --name --owner --state --active --inactive"
PAIR = "-b --benchmark -d --dataset --data_uid -m --mlcube --model --model_uid"
CUBE_SUBMIT = (
    "-n --name -m --mlcube-file --mlcube-hash --container-config-file --container-config-hash "
    "-p --parameters-file --parameters-hash -a --additional-file --additional-hash -i --image-file "
    "--image-hash --operational --decryption-key --ca-id --ca-ids"
)
MEDPERF = {
    "": "--version --platform --gpus --shm_size --loglevel --container-loglevel --cleanup "
    "--no-cleanup --server --certificate --prepare_timeout --sanity_check_timeout "
    "--statistics_timeout --infer_timeout --evaluate_timeout",
    "run": "",
    "auth": "",
    "model": "",
    "training": "",
    "aggregator": "",
    "ca": "",
    "certificate": "",
    "confidential": "",
    "asset": "",
    "web-ui": "",
    "mlcube ls": FILTERS,
    "mlcube view": VIEW,
    "mlcube create": "-i --image -f --folder_name -o --output",
    "mlcube submit": CUBE_SUBMIT,
    "mlcube associate": "-b --benchmark -m --model_uid -y --no-cache",
    "mlcube run_test": "-m --container -t --task --parameters_file_path --additional_files_path "
    "-o --output_logs --timeout --mounts -e --env -P --ports --allow_network --download",
    "mlcube edit": "",
    "mlcube grant_access": "",
    "mlcube associate_with_ca": "",
    "container ls": FILTERS,
    "container submit": CUBE_SUBMIT,
    "container associate": "-b --benchmark -m --model_uid -y --no-cache",
    "container give_access": "",
    "dataset ls": f"{FILTERS} -m --mlcube -p --data-prep",
    "dataset view": VIEW,
    "dataset create": "-b --benchmark -p --data_prep -d --data_path -l --labels_path -m "
    "--metadata_path --name --description --location -y --submit-as-prepared",
    "dataset submit": "-d --data_uid -y -b --benchmark -p --data_prep --data_path -l --labels_path "
    "-m --metadata_path --name --description --location --submit-as-prepared",
    "dataset prepare": "",
    "dataset set_operational": "",
    "dataset activate": "",
    "dataset train": "",
    "dataset associate": "-d --data_uid -b --benchmark_uid -y --no-cache",
    "dataset import": "-d --data_uid -i --input --raw_dataset_path",
    "dataset export": "-d --data_uid -o --output",
    "benchmark ls": FILTERS,
    "benchmark view": VIEW,
    "benchmark submit": "-n --name -d --description -u --docs-url --demo-url --demo-hash "
    "-p --data-preparation-mlcube --data-preparation-container -m --reference-model-mlcube "
    "--reference-model-container --reference-model -e --evaluator-mlcube --evaluator-container "
    "--operational --skip_data_preparation_step --skip-demo-data-preparation "
    "--skip-compatibility-tests --force-test",
    "benchmark associate": "-b --benchmark_uid -m --model_uid -d --data_uid -y --no-cache",
    "benchmark run": "-b --benchmark -d --data_uid -f --models-from-file --ignore-model-errors "
    "--no-cache --rerun-finalized -m",
    "benchmark update_associations_policy": "",
    "benchmark update_committee_members": "",
    "association ls": "-b -d -m -t --approval-status",
    "association approve": f"{PAIR} -t --training_exp",
    "association reject": f"{PAIR} -t --training_exp",
    "association set_priority": "",
    "result create": "",
    "result submit": "-r --result -b --benchmark -d --data_uid -m --model_uid -y",
    "result ls": f"{LS} -b --benchmark -m --model -d --dataset",
    "result view": f"{VIEW} -b --benchmark",
    "test run": "-b --benchmark -d --data_uid --demo_dataset_url --demo_dataset_hash --data_path "
    "--labels_path -p --data_preparation --data_preparator -m --model -e --evaluator --no-cache "
    "--offline --skip-demo-data-preparation --use-local-model-image --model_parameters "
    "--model_additional_files",
    "test ls": LS,
    "test view": VIEW,
    "profile activate": "",
    "profile create": "",
    "profile set": "--platform --gpus --loglevel --infer_timeout",
    "profile unset": "",
    "profile ls": "",
    "profile view": "",
    "storage ls": "",
    "storage move": "-t --target",
    "storage cleanup": "",
}


def found(words: str) -> tuple[str, click.Command | None]:
    """The command, and the group's path in which it is not if it is not there."""
    command: click.Command = cli
    context = click.Context(cli)
    path = "medperf"
    for word in words.split():
        assert isinstance(command, click.Group)
        inner = command.get_command(context, word.replace("_", "-"))
        if inner is None:
            return path, None
        context, command, path = click.Context(inner, parent=context), inner, f"{path} {word}"
    return path, command


@pytest.mark.parametrize("words", sorted(MEDPERF))
def test_each_command_of_medperf_is_here_or_answered(words: str) -> None:
    path, command = found(words)
    if command is None:
        assert command_instead(path, words.split()[-1]) is not None


@pytest.mark.parametrize("words", sorted(name for name, options in MEDPERF.items() if options))
def test_each_option_of_medperf_is_here_or_answered(words: str) -> None:
    path, command = found(words)
    assert command is not None
    here = {name.replace("_", "-") for one in command.params for name in one.opts}
    for option in MEDPERF[words].split():
        answered = option_instead(path.replace("_", "-"), option) is not None
        assert (option.replace("_", "-") in here) != answered, option


def test_every_answer_is_about_something_that_is_not_here() -> None:
    for group, names in COMMANDS.items():
        for name in names:
            assert found(f"{group} {name}".removeprefix("medperf").strip())[1] is None
    for path, options in OPTIONS.items():
        _, command = found(path.removeprefix("medperf").strip())
        assert command is not None, path
        taken = {name.replace("_", "-") for one in command.params for name in one.opts}
        assert not taken & options.keys(), path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("auth", "login"), "medperf login REGISTRY"),
        (("auth",), "medperf login REGISTRY"),
        (("run", "-b", "1", "-d", "1", "-m", "2"), "medperf benchmark run"),
        (("container", "give_access"), "Encrypted containers"),
        (("dataset", "set_operational", "-d", "1"), "medperf proposal merge"),
        (("association", "set-priority"), "medperf association priority"),
        (("--platform", "docker", "plan"), "medperf profile set engine"),
        (("container", "submit", "--image-hash", "a"), "computed"),
        (("benchmark", "run", "--rerun-finalized"), "medperf result withdraw"),
        (("association", "ls", "-bm"), "--pending"),
        (("profile", "set", "--platform", "docker"), "medperf profile set engine"),
    ],
)
def test_a_word_of_medperfs_is_answered_with_what_to_do(
    types: Types, words: tuple[str, ...], told: str
) -> None:
    answer = types(*words)
    assert answer.code == 2
    assert told in answer.said
    assert "There is no command" in answer.said or "No such option" in answer.said


def test_medperfs_newer_name_of_a_cube_is_taken(desks: Desks) -> None:
    old, new = desks.committee("mlcube", "ls"), desks.committee("container", "ls")
    assert (new.code, new.out) == (0, old.out)
