"""What each module offers: `__all__`, and a docstring for every name in it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import types
from pathlib import Path

import pytest

import wl_onnx

ROOT = Path(__file__).parents[2] / "wl_onnx"
MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages([str(ROOT)], "wl_onnx.")
    if (ROOT.parent / (info.name.replace(".", "/") + ".py")).is_file()
    or (ROOT.parent / info.name.replace(".", "/") / "__init__.py").is_file()
)
# They need no torch, so that what they offer can say that it is missing.
WITHOUT_TORCH = {
    "wl_onnx.finetune",
    "wl_onnx.finetune.attach",
    "wl_onnx.finetune.bridge",
    "wl_onnx.finetune.job",
    "wl_onnx.finetune.losses",
    "wl_onnx.finetune.noisy_recipe",
    "wl_onnx.finetune.optimization",
    "wl_onnx.finetune.planned",
    "wl_onnx.finetune.progress",
    "wl_onnx.finetune.recipe",
    "wl_onnx.finetune.recipe_file",
    "wl_onnx.finetune.teacher",
    "wl_onnx.finetune.training_data",
    "wl_onnx.finetune.treatments",
    "wl_onnx.finetune.tuning",
    "wl_onnx.finetune.weightless_recipe",
}
if importlib.util.find_spec("torch") is None:
    MODULES = [
        name for name in MODULES if not name.startswith("wl_onnx.finetune") or name in WITHOUT_TORCH
    ]
DOCUMENTED = [
    "BlobError",
    "EncodeError",
    "InferenceSession",
    "InputError",
    "LibraryError",
    "ModelError",
    "Recipe",
    "Result",
    "Storage",
    "TrainingError",
    "WlOnnxError",
    "__version__",
    "compress",
    "convert",
    "decompress",
    "get_library_path",
    "load_recipe",
    "read_weights",
    "store",
]


def own_names(module: types.ModuleType) -> dict[str, object]:
    """The public functions and classes that a module defines itself."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }


def test_the_package_offers_what_is_documented() -> None:
    assert wl_onnx.__all__ == DOCUMENTED, (
        "the package's public names changed: change DOCUMENTED and CHANGELOG.md too, and keep "
        "the old name for a release where a name went"
    )


def test_every_module_is_walked() -> None:
    assert len(MODULES) > 50
    assert {"wl_onnx.compress", "wl_onnx.cli.main", "wl_onnx.kernels.native"} <= set(MODULES)


@pytest.mark.parametrize("name", ["wl_onnx", *MODULES])
def test_all_is_there_and_right(name: str) -> None:
    module = importlib.import_module(name)
    if not hasattr(module, "__all__") and hasattr(module, "__path__"):
        assert not own_names(module), f"add __all__ to {name}"
        return
    assert isinstance(getattr(module, "__all__", None), list), f"add __all__ to {name}"
    offered = module.__all__
    assert len(set(offered)) == len(offered), f"a name stands twice in __all__ of {name}"
    for entry in offered:
        assert hasattr(module, entry), f"take {entry} out of __all__ of {name}: it has no such name"
        assert not entry.startswith("_") or entry == "__version__", f"{entry} of {name} is private"
    missing = own_names(module).keys() - set(offered)
    assert not missing, (
        f"add {', '.join(sorted(missing))} to __all__ of {name}, or let it begin with an underscore"
    )


def imported_names() -> list[tuple[str, str, str]]:
    """(importing file, module, name) of every import within the package and from its tests."""
    found = []
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wl_onnx"):
                if node.module not in {"wl_onnx", *MODULES}:
                    continue  # a module that needs torch, where that is missing
                for alias in node.names:
                    found.append((path.relative_to(ROOT).as_posix(), str(node.module), alias.name))
    return found


def test_modules_import_only_what_others_offer() -> None:
    wrong = []
    for path, module_name, name in imported_names():
        module = importlib.import_module(module_name)
        is_module = f"{module_name}.{name}" in MODULES or name == "_core"
        if not is_module and name not in module.__all__:
            wrong.append(f"{path} imports {name}, which is not in __all__ of {module_name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert inspect.getdoc(module), f"add a docstring to {name}"
    wrong = []
    for entry, value in own_names(module).items():
        wrong += check_docstring(f"{name}.{entry}", value)
        if inspect.isclass(value):
            for method, member in vars(value).items():
                target = member.fget if isinstance(member, property) else member
                if not method.startswith("_") and inspect.isfunction(target):
                    wrong += check_docstring(f"{name}.{entry}.{method}", target)
    assert not wrong, "\n".join(wrong)


def check_docstring(name: str, value: object) -> list[str]:
    text = inspect.getdoc(value) if "__doc__" in vars(value) or callable(value) else None
    if not text or text.startswith(f"{name.rsplit('.', 1)[-1]}("):
        return [f"add a docstring to {name}: what it gives, arguments, result, errors"]
    wrong = []
    if len(text.splitlines()[0]) > 90:
        wrong.append(f"shorten the first line of the docstring of {name} to 90 characters")
    if inspect.isclass(value) or "Args:" not in text:
        return wrong
    section = text.split("Args:", 1)[1].split("\n\n", 1)[0]
    for parameter in inspect.signature(value).parameters.values():  # type: ignore[arg-type]
        prefix = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        shown = prefix.get(parameter.kind, "") + parameter.name
        if parameter.name != "self" and f"{shown}:" not in section:
            wrong.append(f"describe {shown} in the Args of {name}")
    return wrong


def test_most_functions_with_several_parameters_describe_them() -> None:
    bare = []
    total = 0
    for name in MODULES:
        for entry, value in own_names(importlib.import_module(name)).items():
            if not inspect.isfunction(value) or name.startswith("wl_onnx.cli"):
                continue
            parameters = [p for p in inspect.signature(value).parameters if p != "self"]
            if len(parameters) >= 3:
                total += 1
                if "Args:" not in (inspect.getdoc(value) or ""):
                    bare.append(f"{name}.{entry}({', '.join(parameters)})")
    assert total > 20
    assert not bare, "add Args to " + ", ".join(bare)
