import pytest

from data_prep.errors import InputError
from pipeline.model.config import ModelConfig
from pipeline.objectives import build_objective, objective_config, objective_names

MODEL = ModelConfig(d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)


def test_an_objective_is_found_by_the_name_of_its_file() -> None:
    assert "denoising" in objective_names()
    assert (
        type(build_objective({"kind": "denoising"}, MODEL, 100, seed=0)).__module__ == "pipeline.objectives.denoising"
    )


def test_an_unknown_kind_names_the_nearest_and_all() -> None:
    with pytest.raises(
        InputError, match=r"no objective 'denoisin'\. Did you mean 'denoising'\? There are: .*denoising"
    ):
        objective_config({"kind": "denoisin"})


@pytest.mark.parametrize("kind", [None, "../export/verify", "__init__", "os", 3])
def test_nothing_but_a_file_of_the_folder_is_an_objective(kind: object) -> None:
    with pytest.raises(InputError, match="there is no objective"):
        objective_config({"kind": kind})


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(InputError, match=r"objective\.temperature: no such field; this objective has: kind"):
        build_objective({"kind": "denoising", "temperature": 2}, MODEL, 100, seed=0)
