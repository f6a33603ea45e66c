"""Files in the shapes that public repositories have: what MedPerf runs is read, the rest is told.

The texts are our own; what each has in common with files in the wild stands in its name.
"""

import pytest

from medperf.runner import container_config, mlcube_format
from medperf.runner.task_spec import TaskSpec, check_tasks
from medperf.schemas.errors import CubeError

MODELS = {
    "a challenge's template with places to fill in": """
docker: {image: name of yours, gpu_args: --gpus=all}
platform: {accelerator_count: 1}
tasks:
  infer:
    parameters:
      inputs: {data_path: <whatever>, parameters_file: parameters.yaml,
               weights: additional_files/weights}
      outputs: {output_path: {type: directory, default: <whatever>}}
""",
    "gpu arguments with equals signs and nothing but data": """
docker: {image: x/y:v1, build_context: ../, gpu_args: --shm-size=2gb --gpus=all}
tasks:
  infer:
    parameters: {inputs: {data_path: data/,}, outputs: {output_path: {type: directory}}}
""",
    "only a singularity section, and inputs that are not given": """
singularity: {image: model.sif, run_args: "-C --writable-tmpfs --net --network=none --nv"}
tasks:
  infer:
    parameters:
      inputs: {data_path: data/, parameters_file: {type: file, default: "null"},
               checkpoint_path: {type: file, default: "null"}}
      outputs: {output_path: output/}
""",
    "an entrypoint of the framework, a model folder, tasks of other kinds beside it": """
docker:
  image: x/gandlf:1
  env_args: {CUDA_VISIBLE_DEVICES: "${oc.env:CUDA_VISIBLE_DEVICES}", OMP_NUM_THREADS: 4}
tasks:
  train: {entrypoint: gandlf_run --train True, parameters: {inputs: {config: {type: str}}}}
  infer:
    entrypoint: "python3.8 gandlf_run --train False --device cpu"
    parameters:
      inputs: {data_path: {type: directory, default: data/},
               modeldir: {type: directory, default: additional_files/model/}}
      outputs: {output_path: {type: directory, default: inference_results}}
  construct_csv:
    parameters: {inputs: {inputDir: data/}, outputs: {outputFile: {type: file, default: d.csv}}}
""",
    "several weights of one folder, the old way to ask for GPUs": """
docker: {image: x/tecno:0.0.2, gpu_args: --runtime=nvidia}
tasks:
  infer:
    parameters:
      inputs:
        data_path: data/
        parameters_file: parameters.yaml
        features: additional_files/features
        heads: additional_files/heads
      outputs: {output_path: {type: directory, default: predictions}}
""",
    "volumes alone: the image says what runs": """
container_type: DockerImage
image: x/model-only:0.0.0
tasks:
  infer:
    input_volumes:
      data_path: {mount_path: /mlcommons/volumes/data, type: directory}
      additional_files: {mount_path: /mlcommons/volumes/model_files, type: directory}
    output_volumes:
      output_path: {mount_path: /mlcommons/volumes/results, type: directory}
""",
    "a SIF with a cleared entrypoint and variables": """
container_type: SingularityFile
image: https://example.org/model.sif
tasks:
  infer:
    run_args: {entrypoint: "", command: ["/bin/sh", "-c", "run --all"], gpus: "device=0,1",
               environment: {PATH: "/opt/conda/bin:/bin", LD_LIBRARY_PATH: /opt/lib, HOME: /w}}
    input_volumes: {data_path: {mount_path: /d, type: directory}}
    output_volumes: {output_path: {mount_path: /p, type: directory}}
""",
}
EVALUATORS = {
    "an entrypoint at the root, and typed files": """
docker: {image: x/metrics:1.0.1, build_strategy: auto}
singularity: {image: metrics.simg}
tasks:
  evaluate:
    entrypoint: python3.9 /entrypoint.py
    parameters:
      inputs: {predictions: predictions, labels: labels,
               parameters_file: {type: file, default: parameters.yaml}}
      outputs: {output_path: {type: file, default: results.yaml},
                log_path: {type: "file", default: "evaluate.log"}}
""",
    "local outputs beside the results": """
container_type: DockerImage
image: x/metrics:0.0.0
tasks:
  evaluate:
    input_volumes:
      labels: {mount_path: /mlcommons/volumes/labels, type: directory}
      predictions: {mount_path: /mlcommons/volumes/predictions, type: directory}
    output_volumes:
      local_outputs_path: {mount_path: /mlcommons/volumes/local_outputs, type: directory}
      output_path: {mount_path: /mlcommons/volumes/results/results.yaml, type: file}
""",
}
PREPARATORS = {
    "an mlcube.yaml carried over into volumes, options and all": """
container_type: DockerImage
image: x/prep:1.0.11
tasks:
  prepare:
    input_volumes:
      additional_files: {mount_path: /mlcube_io3, type: directory}
      data_path: {mount_path: /mlcube_io0, type: directory}
      labels_path: {mount_path: /mlcube_io1, type: directory}
      parameters_file: {mount_path: /mlcube_io2/parameters.yaml, type: file}
    output_volumes:
      metadata_path: {mount_path: /mlcube_io7, type: directory}
      output_labels_path: {mount_path: /mlcube_io5, type: directory}
      output_path: {mount_path: /mlcube_io4, type: directory}
      report_file: {mount_path: /mlcube_io6/report.yaml, type: file}
    run_args:
      command: [prepare, --data_path=/mlcube_io0/, --models=/mlcube_io3/models]
  sanity_check:
    input_volumes:
      data_path: {mount_path: /mlcube_io0, type: directory}
      metadata_path: {mount_path: /mlcube_io3, type: directory}
    output_volumes: {}
    run_args: {command: [sanity_check, --data_path=/mlcube_io0/]}
  statistics:
    input_volumes:
      data_path: {mount_path: /mlcube_io0, type: directory}
      metadata_path: {mount_path: /mlcube_io3, type: directory}
    output_volumes: {output_path: {mount_path: /mlcube_io4/statistics.yaml, type: file}}
    run_args: {command: [statistics, --data_path=/mlcube_io0/]}
""",
    "two tasks, of which the second checks first": """
container_type: DockerImage
image: x/prep:0.0.1
tasks:
  prepare:
    run_args: {command: python3 /project/main.py}
    input_volumes:
      data_path: {mount_path: /v/raw_data, type: directory}
      labels_path: {mount_path: /v/raw_labels, type: directory}
    output_volumes:
      output_path: {mount_path: /v/data, type: directory}
      output_labels_path: {mount_path: /v/labels, type: directory}
  statistics:
    run_args: {command: python3 /project/main.py --start=sanity_check}
    input_volumes:
      data_path: {mount_path: /v/data, type: directory}
      labels_path: {mount_path: /v/labels, type: directory}
    output_volumes: {output_path: {mount_path: /v/statistics/statistics.yaml, type: file}}
""",
    "data and labels from one folder, folders by their type alone": """
docker: {image: x/prep}
tasks:
  prepare:
    parameters:
      inputs: {data_path: {type: directory, default: data}, labels_path: {type: directory,
               default: data}, parameters_file: parameters.yaml}
      outputs: {output_path: prepped_data/, output_labels_path: labels/}
  sanity_check: {parameters: {inputs: {data_path: {type: directory, default: prepped_data}}}}
  statistics:
    parameters:
      inputs: {data_path: {type: directory, default: prepped_data}, labels_path: labels/}
      outputs: {output_path: {type: file, default: statistics.yaml}}
""",
}


def read(text: str) -> dict[str, TaskSpec]:
    if "container_type" in text:
        return container_config.read(text, file="file")
    return mlcube_format.read(text, file="file")


@pytest.mark.parametrize(
    ("role", "text"),
    [
        pytest.param(role, text, id=name)
        for role, texts in (
            ("model", MODELS),
            ("evaluator", EVALUATORS),
            ("preparator", PREPARATORS),
        )
        for name, text in texts.items()
    ],
)
def test_what_medperf_runs_is_read(role: str, text: str) -> None:
    check_tasks(read(text), role, file="file")


def test_variables_that_mlcube_takes_from_its_user_are_left_out() -> None:
    text = next(text for name, text in MODELS.items() if name.startswith("an entrypoint of"))
    assert read(text)["infer"].environment == {"OMP_NUM_THREADS": "4"}


@pytest.mark.parametrize(
    ("role", "text", "message"),
    [
        (
            "preparator",
            "steps:\n  - {id: prepare, type: container, image: x/y:1, command: run, next: null}\n",
            "an Airflow workflow, which needs services and a network",
        ),
        (
            "model",
            "container_type: EncryptedSingularityFile\nimage: https://x/y\ntasks: {infer: {}}\n",
            "Encrypted images cannot be run here: nobody could say what ran",
        ),
        (
            "model",
            MODELS["volumes alone: the image says what runs"].replace(
                "output_path", "results_path"
            ),
            "the output 'output_path' is missing",
        ),
        (
            "model",
            MODELS["volumes alone: the image says what runs"].replace(
                "additional_files", "labels_path"
            ),
            "nothing can be given for the input 'labels_path'",
        ),
        (
            "evaluator",
            EVALUATORS["an entrypoint at the root, and typed files"].replace(
                "labels: labels", "ground_truth: labels"
            ),
            "the input 'labels' is missing",
        ),
        (
            "model",
            "docker: {image: x}\ntasks:\n  parameters: {inputs: {data_path: data/}}\n",
            "needs the task 'infer'; it has parameters",
        ),
        (
            "model",
            "tasks: {infer: {parameters: {inputs: {data_path: d/, w: {type: directory, default:"
            " none}}, outputs: {output_path: o/}}}}",
            "nothing can be given for the input 'w'",
        ),
    ],
)
def test_what_cannot_run_is_told_plainly(role: str, text: str, message: str) -> None:
    with pytest.raises(CubeError, match=message):
        check_tasks(read(text), role, file="file")
