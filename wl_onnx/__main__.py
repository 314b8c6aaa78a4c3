"""`python -m wl_onnx`: the command line without its script."""

from wl_onnx.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
