"""Runs models in the onnxruntime of this interpreter, without wl_onnx.

    python run_model.py LIBRARY INPUT DIM,DIM... MODEL OUTPUT [MODEL OUTPUT]...

LIBRARY is the operator library, or - for none. INPUT holds the float32 values of the only input,
of the shape DIM,DIM...; each OUTPUT gets those of all outputs, one behind the other, and
OUTPUT.onnx the graph that the session runs.
"""

import importlib.util
import sys

import numpy as np
import onnxruntime


def main() -> None:
    """Runs what the command line names."""
    if importlib.util.find_spec("wl_onnx") is not None:
        raise SystemExit("wl_onnx can be imported here: this would not be stock onnxruntime")
    library, source, dims, *paths = sys.argv[1:]
    values = np.fromfile(source, np.float32).reshape([int(dim) for dim in dims.split(",")])
    for model, target in zip(paths[::2], paths[1::2], strict=True):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = target + ".onnx"
        options.log_severity_level = 3
        if library != "-":
            options.register_custom_ops_library(library)
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        outputs = session.run(None, {session.get_inputs()[0].name: values})
        np.concatenate([output.ravel() for output in outputs]).tofile(target)


if __name__ == "__main__":
    main()
