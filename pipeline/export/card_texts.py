"""What a model card says about each target: the library, the hub's name of the task, how to load it, what it is for."""

from pathlib import Path

from pipeline.config import RunConfig
from pipeline.export.layouts import layout_of

LIBRARIES = {
    "hf": "transformers",
    "encoder": "transformers",
    "sentence-transformers": "sentence-transformers",
    "onnx": "onnx",
    "native": "spanwright",
}
USES = {
    "hf": "To be fine-tuned on a task, or trained further. As it is, it does what its objective asked of it.",
    "encoder": "To be fine-tuned with a head of your own (classification, tagging), or read for the states of tokens.",
    "sentence-transformers": "Vectors of texts, for search and clustering; fine-tuning on your own pairs helps.",
    "onnx": "To be run where there is no Python, or by onnxruntime; the graphs take any batch and length.",
    "native": "To be run or trained further by Spanwright: no class of transformers has a place for this model.",
}
_TEMPLATES = {
    "hf": """\
from transformers import AutoTokenizer, {class_name}

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = {class_name}.from_pretrained("{folder}")
""",
    "encoder": """\
from transformers import AutoTokenizer, {class_name}

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = {class_name}.from_pretrained("{folder}")
states = model(**tokenizer(["a text"], return_tensors="pt")).last_hidden_state
""",
    "sentence-transformers": """\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{folder}")
vectors = model.encode(["a text", "another"])
""",
    "onnx": """\
from onnxruntime import InferenceSession
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
session = InferenceSession("{folder}/{graph}.onnx")
inputs = dict(tokenizer(["a text"], return_tensors="np"))
states = session.run(["last_hidden_state"], inputs)[0]
""",
    "native": """\
from pipeline.export.native import load_native

model = load_native("{folder}")
""",
}


def loading(config: RunConfig, target: str, folder: Path) -> str:
    """The lines of Python that load the export in `folder`, whose last two names are enough to find it."""
    layout = layout_of(config.model)
    return _TEMPLATES[target].format(
        class_name=layout.BODY_CLASS if target == "encoder" else layout.HEAD_CLASS,
        graph="encoder_model" if config.model.layers.has_decoder else "model",
        folder=Path(*folder.parts[-3:]),
    )


def task(config: RunConfig, target: str) -> str | None:
    """The hub's name for what it does; None where it has none."""
    if target == "hf":
        return {"tokens": "text2text-generation", "masked": "fill-mask"}.get(config.model.layers.head)
    return {"encoder": "feature-extraction", "sentence-transformers": "sentence-similarity"}.get(target)
