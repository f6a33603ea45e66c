"""container_config.yaml as MedPerf writes it today, and in bad shape."""

import pytest

from medperf.runner import container_config
from medperf.runner.task_spec import Slot, check_tasks
from medperf.schemas.errors import CubeError

EVALUATOR = """\
container_type: DockerImage
image: example/toy-metrics:0.1.0
tasks:
  evaluate:
    run_args: {command: python3 /app/eval.py, shm_size: 1g, gpus: 1, environment: {A: 1, B: true}}
    input_volumes:
      predictions: {mount_path: /io/preds, type: directory}
      labels: {mount_path: /io/labels/, type: directory}
      parameters_file: {mount_path: /io/parameters.yaml, type: file}
      additional_files: {mount_path: /io/more, type: directory}
    output_volumes:
      output_path: {mount_path: /io/results.yaml, type: file}
      local_outputs_path: {mount_path: /io/local, type: directory}
"""


def test_an_evaluator_is_read() -> None:
    tasks = container_config.read(EVALUATOR)
    check_tasks(tasks, "evaluator", file="container_config.yaml")
    spec = tasks["evaluate"]
    assert spec.entrypoint is None
    assert spec.arguments == ("python3", "/app/eval.py")
    assert (spec.shm, spec.gpus) == (1 << 30, 1)
    assert spec.environment == {"A": "1", "B": "true"}
    assert spec.input("labels") == Slot("labels", "labels", "directory", "/io/labels")
    assert spec.output("output_path") == Slot(
        "output_path", "results.yaml", "file", "/io/results.yaml"
    )
    more = spec.input("additional_files")
    assert more is not None
    assert more.below_additional == ""


def test_volumes_may_lie_in_the_folder_of_another() -> None:
    tasks = container_config.read(EVALUATOR.replace("/io/preds", "/io"))
    check_tasks(tasks, "evaluator", file="container_config.yaml")


def test_a_task_may_set_what_steers_its_own_programs() -> None:
    mine = "{PATH: /opt/bin, HOME: /w, LD_PRELOAD: /x.so, LD_LIBRARY_PATH: /l, BASH_ENV: /b}"
    spec = container_config.read(EVALUATOR.replace("{A: 1, B: true}", mine))["evaluate"]
    assert spec.problem is None
    assert spec.environment["LD_PRELOAD"] == "/x.so"
    assert {"PATH", "HOME", "LD_LIBRARY_PATH", "BASH_ENV"} <= set(spec.environment)


def test_commands_may_be_lists_and_entrypoints_may_be_given() -> None:
    tasks = container_config.read(
        EVALUATOR.replace(
            "command: python3 /app/eval.py", "command: [-m, x y], entrypoint: python3"
        )
    )
    assert tasks["evaluate"].entrypoint == ("python3",)
    assert tasks["evaluate"].arguments == ("-m", "x y")


@pytest.mark.parametrize("empty", ['""', "[]"])
def test_an_empty_entrypoint_clears_the_images(empty: str) -> None:
    text = EVALUATOR.replace("command: python3", f"entrypoint: {empty}, command: python3")
    spec = container_config.read(text)["evaluate"]
    assert (spec.entrypoint, spec.arguments) == (("python3",), ("/app/eval.py",))
    spec = container_config.read(text.replace("command: python3 /app/eval.py, ", ""))["evaluate"]
    assert "must name the program" in str(spec.problem)


def test_a_preparator_may_leave_the_check_to_its_statistics() -> None:
    """As MedPerf's newest one does; that its data are not checked apart is told where it runs."""
    text = """\
container_type: DockerImage
image: example/prep:1
tasks:
  prepare:
    input_volumes:
      data_path: {mount_path: /io/raw, type: directory}
      labels_path: {mount_path: /io/raw_labels, type: directory}
    output_volumes: {output_path: {mount_path: /io/data, type: directory}}
  statistics:
    input_volumes: {data_path: {mount_path: /io/data, type: directory}}
    output_volumes: {output_path: {mount_path: /io/statistics.yaml, type: file}}
"""
    check_tasks(container_config.read(text), "preparator", file="x")
    for name in ("prepare", "statistics"):
        with pytest.raises(CubeError, match=f"needs the task '{name}'"):
            check_tasks(
                container_config.read(text.replace(f"  {name}:", "  x:")), "preparator", file="x"
            )
    broken = text + "  sanity_check: {input_volumes: {data_path: /io/data}}\n"
    with pytest.raises(CubeError, match="a mapping was expected"):
        check_tasks(container_config.read(broken), "preparator", file="x")


def test_a_task_without_run_args_uses_the_image_as_it_is() -> None:
    tasks = container_config.read(
        "container_type: SingularityFile\nimage: https://example.org/x.sif\ntasks:\n  infer:\n"
        "    input_volumes: {data_path: {mount_path: /d, type: directory}}\n"
        "    output_volumes: {output_path: {mount_path: /o, type: directory}}\n"
        "  sanity_check: {output_volumes: {}}\n"
    )
    check_tasks(tasks, "model", file="container_config.yaml")
    assert tasks["infer"].arguments == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "DockerImage",
            "EncryptedDockerArchive",
            "container_type: found 'Encrypted.*Encrypted images",
        ),
        ("container_type: DockerImage", "", "container_type: found None"),
        ("tasks:", "task:", "tasks: a mapping"),
        (
            "shm_size: 1g",
            "privileged: true",
            r"run_args: 'privileged' is not allowed: a task gets no",
        ),
        ("shm_size: 1g", "network: host", r"'network' is not allowed: a task has no network"),
        ("shm_size: 1g", 'ports: ["80:80"]', r"'ports' is not allowed: a task has no network"),
        ("shm_size: 1g", "user: root", r"'user' is not allowed: .* unprivileged user"),
        ("shm_size: 1g", "ipc: host", r"'ipc' is not allowed: .* by shm_size"),
        ("shm_size: 1g", "volumes: [/x]", r"'volumes' is not allowed: .*input_volumes"),
        ("shm_size: 1g", "mem_limit: 8g", r"'mem_limit' is not allowed: .*--memory"),
        ("shm_size: 1g", "workdir: /x", r"'workdir' is not allowed: .*scratchRoot"),
        ("shm_size: 1g", "restart: always", r"'restart' is not known"),
        ("shm_size: 1g", "shm_size: 0", "no size"),
        (
            "environment: {A: 1, B: true}",
            "environment: {APPTAINER_BIND: /x}",
            "APPTAINER_BIND may not be set",
        ),
        ("/io/preds", "/io/../etc", r"input_volumes.predictions.mount_path: '/io/../etc'"),
        ("/io/preds", "io/preds", "from / on"),
        ("/io/preds", "//x", "no plain path"),
        ("/io/preds", "/", "no plain path"),
        ("/io/preds", "/usr", "hide the system"),
        ("/io/preds", "/proc/self", "hide the system"),
        ("/io/preds", "/io/labels", "lies in"),
        ("/io/preds", "/io/results.yaml/preds", "which is a file"),
        ("{mount_path: /io/preds, type: directory}", "/io/preds", "a mapping was expected"),
        ("preds, type: directory", "preds, type: folder", r"predictions\.type"),
        (
            "yaml, type: file}\n      additional",
            "yaml, type: directory}\n      additional",
            "are a file",
        ),
        ("/io/more, type: directory", "/io/more, type: file", "are a directory"),
        ("parameters_file:", "weights:", "nothing can be given for the input 'weights'"),
        ("output_path:", "results_path:", "output 'output_path' is missing"),
        ("results.yaml, type: file", "results, type: directory", "must be a file"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(old: str, new: str, message: str) -> None:
    assert old in EVALUATOR
    with pytest.raises(CubeError, match=message) as caught:
        check_tasks(
            container_config.read(EVALUATOR.replace(old, new)),
            "evaluator",
            file="container_config.yaml",
        )
    assert "container_config.yaml" in str(caught.value)
