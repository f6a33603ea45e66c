"""mlcube.yaml as it is found in the wild, and in bad shape."""

import pytest

from medperf.runner import cube_yaml, mlcube_format
from medperf.runner.task_spec import ALL_GPUS, Kind, Slot, check_tasks
from medperf.schemas.errors import CubeError

PREPARATOR = """\
name: Chest X-ray preparator
description: prepares
authors:
 - {name: "Somebody"}

platform:
  accelerator_count: 0

docker:
  # Image name.
  image: example/prep:0.1.0
  build_context: "../project"
  build_file: "Dockerfile"

singularity:
  image: prep.sif
  image_dir: $MLCUBE_ROOT/workspace

tasks:
  prepare:
    parameters:
      inputs: {data_path: raw, labels_path: raw/valid.csv, parameters_file: parameters.yaml}
      outputs: {output_path: data/, output_labels_path: labels/}
  sanity_check:
    parameters:
      inputs: {data_path: data/, labels_path: labels/, parameters_file: parameters.yaml}
  statistics:
    parameters:
      inputs: {data_path: data/, labels_path: labels/, parameters_file: parameters.yaml}
      outputs: {output_path: {type: file, default: statistics.yaml}}
"""

MODEL = """\
docker: {image: example/toy:0.1.0, gpu_args: --gpus all --shm-size=8g, env_args: -e A=1 -e B=two}
platform: {accelerator_count: 1}
tasks:
  infer:
    entrypoint: python3 "/app/my main.py"
    parameters:
      inputs:
        data_path: {type: directory, default: data, opts: rw}
        parameters_file: {type: file, default: parameters.yaml}
        weights: additional_files/w.npz
      outputs: {output_path: {type: directory, default: predictions}}
"""


def test_a_preparator_of_2023_is_read() -> None:
    tasks = mlcube_format.read(PREPARATOR)
    check_tasks(tasks, "preparator", file="mlcube.yaml")
    prepare = tasks["prepare"]
    assert prepare.entrypoint is None
    assert prepare.arguments == ("prepare",)
    assert prepare.inputs == (
        Slot("data_path", "raw", None),
        Slot("labels_path", "raw/valid.csv", None),
        Slot("parameters_file", "parameters.yaml", "file"),
    )
    assert prepare.outputs == (
        Slot("output_path", "data", "directory"),
        Slot("output_labels_path", "labels", "directory"),
    )
    assert tasks["sanity_check"].outputs == ()
    assert tasks["statistics"].outputs == (Slot("output_path", "statistics.yaml", "file"),)


def test_a_model_with_gpus_shared_memory_environment_and_entrypoint_is_read() -> None:
    tasks = mlcube_format.read(MODEL)
    check_tasks(tasks, "model", file="mlcube.yaml")
    infer = tasks["infer"]
    assert infer.entrypoint == ("python3", "/app/my main.py")
    assert infer.arguments == ()
    assert (infer.gpus, infer.shm) == (1, 8 << 30)
    assert infer.environment == {"A": "1", "B": "two"}
    weights = infer.input("weights")
    assert weights is not None
    assert weights.below_additional == "w.npz"


def test_an_untyped_output_is_judged_by_the_task_contract() -> None:
    tasks = mlcube_format.read(
        "tasks: {evaluate: {parameters: {inputs: {predictions: p, labels: l},"
        " outputs: {output_path: results.yaml, local_outputs_path: more}}}}"
    )
    check_tasks(tasks, "evaluator", file="mlcube.yaml")
    assert [slot.kind for slot in tasks["evaluate"].outputs] == ["file", "directory"]


def test_a_preparator_with_labels_in_the_data_is_whole() -> None:
    text = PREPARATOR.replace(", output_labels_path: labels/", "").replace(
        " labels_path: labels/,", ""
    )
    tasks = mlcube_format.read(text)
    check_tasks(tasks, "preparator", file="mlcube.yaml")
    assert tasks["prepare"].output("output_labels_path") is None


def test_anchors_and_merge_keys_are_read() -> None:
    tasks = mlcube_format.read(
        "common: &c {inputs: {data_path: data/}}\n"
        "tasks:\n  infer: {parameters: {<<: *c, outputs: {output_path: out/}}}\n"
        "  also: {parameters: {<<: [*c], inputs: {data_path: other/}}}\n"
    )
    check_tasks(tasks, "model", file="mlcube.yaml")
    assert tasks["also"].inputs[0].path == "other"


@pytest.mark.parametrize(
    "entrypoint", ["python3 /app/infer.py", "gandlf_run --train False", "python3 /entrypoint.py"]
)
def test_a_tasks_own_entrypoint_is_called_without_its_name(entrypoint: str) -> None:
    """MLCube's contract; the other way is known, for the cubes of the version that broke it."""
    infer = mlcube_format.read(MODEL.replace('python3 "/app/my main.py"', entrypoint))["infer"]
    assert (infer.arguments, infer.other_custom) == ((), ("infer",))


def test_tasks_that_share_an_entrypoint_are_told_by_name() -> None:
    tasks = mlcube_format.read(
        "tasks:\n"
        "  prepare: {entrypoint: python3 /app/main.py}\n"
        "  sanity_check: {entrypoint: python3 /app/main.py}\n"
        "  statistics: {entrypoint: python3 /app/statistics.py}\n"
    )
    assert {name: task.arguments for name, task in tasks.items()} == {
        "prepare": ("prepare",),
        "sanity_check": ("sanity_check",),
        "statistics": (),
    }
    assert [task.other_custom for task in tasks.values()] == [None, None, ("statistics",)]


@pytest.mark.parametrize("entrypoint", ["null", "''", "' '"])
def test_an_entrypoint_that_says_nothing_is_the_images_own(entrypoint: str) -> None:
    infer = mlcube_format.read(MODEL.replace('python3 "/app/my main.py"', entrypoint))["infer"]
    assert (infer.entrypoint, infer.arguments, infer.other_custom) == (None, ("infer",), None)


@pytest.mark.parametrize(
    ("written", "path", "kind"),
    [
        ("../raw", "raw", None),
        ("/data/raw/", "raw", "directory"),
        ("~/raw", "raw", None),
        ("$HOME/raw", "raw", None),
        ("$HOME", "HOME", None),
        ("./", "data_path", "directory"),
        ("..", "data_path", None),
        ("<whatever>", "<whatever>", None),
        ("{type: file, default: a/}", "a", "directory"),
        ("{type: directory, default: a, opts: rw, about: them}", "a", "directory"),
        ("{type: unknown, default: a}", "a", None),
    ],
)
def test_a_path_outside_the_workspace_keeps_its_last_name(
    written: str, path: str, kind: Kind | None
) -> None:
    tasks = mlcube_format.read(PREPARATOR.replace("data_path: raw,", f"data_path: {written},"))
    check_tasks(tasks, "preparator", file="mlcube.yaml")
    assert tasks["prepare"].input("data_path") == Slot("data_path", path, kind)


def test_a_path_that_climbs_out_of_the_additional_files_is_not_below_them() -> None:
    tasks = mlcube_format.read(MODEL.replace("additional_files/w.npz", "additional_files/../w.npz"))
    with pytest.raises(CubeError, match="nothing can be given for the input 'weights'"):
        check_tasks(tasks, "model", file="mlcube.yaml")


TASKS_BESIDE = """\
name: more than one use
docker: {image: example/toy:0.1.0, build_context: ../, build_file: Dockerfile-CPU,
         build_strategy: auto, gpu_args: --runtime=nvidia}
singularity: {image: toy.sif, image_dir: '../project', build_args: --fakeroot}
k8s: {image: example/toy:0.1.0}
platform: {accelerator_count: 1, accelerator_maker: NVIDIA, host_memory_gb: 40}
tasks:
  train:
    entrypoint: "run --train True"
    parameters:
      inputs: {data_path: {type: directory, default: data/}, parameters_file: config.yml,
               device: {type: str, default: cpu}, rounds: 3}
      outputs: {log_dir: {type: directory, default: train_logs}}
  infer:
    parameters:
      inputs: {data_path: data/, parameters_file: {type: file, default: config.yml},
               model-dir: additional_files/model/}
      outputs: {output_path: {type: directory, default: predictions}, log_dir: logs/}
  recover: {parameters: {outputs: {outputFile: {type: file, default: found.yml}}}}
"""


def test_only_the_tasks_of_the_role_must_be_readable() -> None:
    tasks = mlcube_format.read(TASKS_BESIDE)
    check_tasks(tasks, "model", file="mlcube.yaml")
    assert "tasks.train" in (tasks["train"].problem or "")
    assert [slot.key for slot in tasks["infer"].outputs] == ["output_path", "log_dir"]
    assert tasks["infer"].inputs[1:] == (
        Slot("parameters_file", "config.yml", "file"),
        Slot("model-dir", "additional_files/model", "directory"),
    )


def test_a_check_may_read_what_prepare_reports() -> None:
    text = PREPARATOR.replace(
        "output_labels_path: labels/}",
        "output_labels_path: labels/, report_file: {type: file, default: report.yaml}}",
    ).replace("labels_path: labels/, p", "labels_path: labels/, report_file: report.yaml, p", 1)
    tasks = mlcube_format.read(text)
    check_tasks(tasks, "preparator", file="mlcube.yaml")
    assert tasks["sanity_check"].input("report_file") is not None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("data_path: raw,", "data_path: [a],", "write a path"),
        ("data_path: raw,", "data_path: {type: folder},", r"data_path\.type: found 'folder'"),
        ("data_path: raw,", "a b: raw,", "cannot be an option"),
        ("tasks:", "jobs:", "tasks: a mapping was expected"),
        ("prepare:\n", "prepaer:\n", r"needs the task 'prepare'; it has prepaer, sanity_check"),
        ("data_path: raw, ", "", r"tasks\.prepare: the input 'data_path' is missing"),
        ("output_path: data/, ", "", r"tasks\.prepare: the output 'output_path' is missing"),
        ("output_path: data/,", "output_path: {type: file, default: d},", "must be a directory"),
        (
            "data_path: raw,",
            "data_path: raw, secrets: s/,",
            "nothing can be given for .* 'secrets'",
        ),
        (
            "labels_path: labels/, parameters_file: parameters.yaml}\n  statistics",
            "metadata_path: m/, parameters_file: parameters.yaml}\n  statistics",
            "takes metadata_path, but tasks.prepare",
        ),
        (
            "labels_path: labels/, parameters_file: parameters.yaml}\n  statistics",
            "report_file: r.yaml, parameters_file: parameters.yaml}\n  statistics",
            "takes report_file, but tasks.prepare",
        ),
        ("accelerator_count: 0", "accelerator_count: many", "no number of GPUs"),
        ("image: example/prep:0.1.0", "gpu_args: --shm-size lots", "is no size"),
        (
            "image: example/prep:0.1.0",
            "env_args: {APPTAINER_BIND: x}",
            "APPTAINER_BIND may not be set",
        ),
        ("image: example/prep:0.1.0", "env_args: {1A: x}", "no name of a variable"),
        ("image: example/prep:0.1.0", "env_args: [A]", "NAME=value"),
        ("image: example/prep:0.1.0", "env_args: 7", "NAME: value"),
        ("image: example/prep:0.1.0", "env_args: {A: [1]}", "one word or number"),
        ("image: example/prep:0.1.0", "gpu_args: '\"'", "quote is not closed"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(old: str, new: str, message: str) -> None:
    assert old in PREPARATOR
    with pytest.raises(CubeError, match=message):
        check_tasks(
            mlcube_format.read(PREPARATOR.replace(old, new)), "preparator", file="mlcube.yaml"
        )


@pytest.mark.parametrize("name", ["sanity-check", "sanitycheck", "SanityCheck"])
def test_a_task_that_may_be_left_out_is_not_lost_by_its_spelling(name: str) -> None:
    tasks = mlcube_format.read(PREPARATOR.replace("sanity_check:", f"{name}:"))
    with pytest.raises(CubeError, match=f"'{name}' must be called 'sanity_check' to be run"):
        check_tasks(tasks, "preparator", file="mlcube.yaml")


def test_a_preparator_without_a_check_is_whole() -> None:
    tasks = mlcube_format.read(PREPARATOR.replace("sanity_check:", "visualize:"))
    check_tasks(tasks, "preparator", file="mlcube.yaml")


@pytest.mark.parametrize("entrypoint", ["[]", "'\"x'", "{a: 1}", "['']"])
def test_bad_entrypoints_are_refused(entrypoint: str) -> None:
    tasks = mlcube_format.read(MODEL.replace('python3 "/app/my main.py"', entrypoint))
    with pytest.raises(CubeError, match="entrypoint"):
        check_tasks(tasks, "model", file="mlcube.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [("8gb", 8 << 30), ("512m", 512 << 20), ("64Mi", 64 << 20), ("1024", 1024), ("2k", 2048)],
)
def test_sizes_are_read_as_docker_reads_them(text: str, value: int) -> None:
    tasks = mlcube_format.read(f"docker: {{cpu_args: --shm-size {text}}}\ntasks: {{t: }}")
    assert tasks["t"].shm == value


@pytest.mark.parametrize(
    ("text", "count"), [("all", ALL_GPUS), ("2", 2), ('"device=0,3"', 2), ('""', 0), ("null", 0)]
)
def test_gpus_are_counted(text: str, count: int) -> None:
    tasks = mlcube_format.read(f"platform: {{accelerator_count: {text}}}\ntasks: {{t: }}")
    assert tasks["t"].gpus == count


@pytest.mark.parametrize(
    ("section", "shm", "variables"),
    [
        ("{cpu_args: --ipc=host}", 8 << 30, {}),
        ("{cpu_args: -it --ipc host --shm-size=1g}", 1 << 30, {}),
        ("{cpu_args: --ipc=private}", None, {}),
        (
            "{cpu_args: '-e A=1 --env B=x=y', gpu_args: '--gpus all --env=C=\"a b\"'}",
            None,
            {"A": "1", "B": "x=y", "C": "a b"},
        ),
        ("{cpu_args: '-e USER -e A=${HOME}', env_args: {A: 2}}", None, {"A": "2"}),
        ("{cpu_args: -e A=1, env_args: {A: 2}}", None, {"A": "2"}),
    ],
)
def test_run_arguments_ask_for_shared_memory_and_variables(
    section: str, shm: int | None, variables: dict[str, str]
) -> None:
    spec = mlcube_format.read(f"docker: {section}\ntasks: {{t: }}")["t"]
    assert (spec.shm, spec.environment) == (shm, variables)


@pytest.mark.parametrize("line", ["-e --bind=/a:/b", "-e /a=b", "--nv -e", "-e =x"])
def test_singularitys_cleanenv_sets_no_variable(line: str) -> None:
    text = f"singularity: {{run_args: '{line} --env A=1'}}\ntasks: {{t: }}"
    assert mlcube_format.read(text)["t"].environment == {"A": "1"}


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(), "more than 20000 values"),
        ("a: &a {<<: *a}", "alias \\*a"),
        ("a: &a [*a]", "alias \\*a"),
        ("a: *b", "alias|undefined"),
        ("a: 1\nb: 2\na: 3", "f:3: the key 'a' stands twice"),
        ("a: !!python/object:os.system x", "f:1: the tag"),
        ("a: !x y", "the tag"),
        ("? [a]\n: b", "not a word"),
        ("[" * 500, "nested deeper"),
        ("a: b: c", "f:1: this is not YAML"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("", "empty"),
        ("a: \x01", "not YAML"),
        ("a: \ud800", "half a character"),
        ('a: "\\ud800"', "f:1: half a character|not YAML"),
        ('a: "\\0"', "f:1: half a character"),
        ("a: {<<: 1}", "merges what is no mapping"),
        ("x" * 70_000, "larger than"),
    ],
)
def test_hostile_yaml_is_refused(text: str, message: str) -> None:
    with pytest.raises(CubeError, match=message):
        cube_yaml.parse(text, file="f")


def test_scalars_follow_json_and_everything_else_is_a_string() -> None:
    value = cube_yaml.parse(
        "a: no\nb: 2020-01-01\nc: 010\nd: 1.5\ne: -3\nf: '1'\ng:\nh: true\r\ni: .nan\nj: 1e3",
        file="f",
    )
    assert value == {
        "a": "no", "b": "2020-01-01", "c": "010", "d": 1.5, "e": -3,
        "f": "1", "g": None, "h": True, "i": ".nan", "j": 1000.0,
    }  # fmt: skip
