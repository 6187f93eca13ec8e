"""The fast encoder against SentencePiece itself: equal ids for any text and any model it accepts."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from data_prep.config import TokenizerConfig
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.byte_model import byte_model
from data_prep.tokenizer.encoder import Encoder, native_library
from data_prep.tokenizer.own import adopt_model
from data_prep.tokenizer.segments import segments
from data_prep.tokenizer.train import train_model

STEP = 1 / 256
NO_SHRINKING_FIXTURE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def hand_made(pieces: dict[str, float]) -> bytes:
    """A unigram model with the special tokens, the bytes and these pieces with their scores."""
    proto = ModelProto.FromString(byte_model())
    proto.trainer_spec.model_type = proto.trainer_spec.UNIGRAM
    proto.normalizer_spec.escape_whitespaces = True
    for piece, score in pieces.items():
        proto.pieces.add(piece=piece.replace(" ", "\u2581"), score=score, type=proto.SentencePiece.NORMAL)
    return proto.SerializeToString(deterministic=True)


@pytest.fixture
def use(tmp_path: Path) -> Callable[[bytes], Tokenizer]:
    def load(model: bytes) -> Tokenizer:
        (tmp_path / "spiece.model").write_bytes(model)
        return Tokenizer.load(tmp_path)

    return load


@pytest.fixture(scope="module", params=["unigram", "char", "byte"])
def trained(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    texts = [path.read_text("utf-8") for path in sorted((corpus / "json").rglob("*.py"))]
    texts += [babel(seed, 3000) for seed in range(8)]
    folder = tmp_path_factory.mktemp("tokenizer")
    config = TokenizerConfig(kind=request.param, vocab_size=3000)
    (folder / "spiece.model").write_bytes(train_model(texts, config).model)
    return Tokenizer.load(folder)


ALPHABETS = ["abcdefghijklmnop", "äöüßéèçñøł", "абвгдежзиклмн", "αβγδεζηθικ", "אבגדהוזח", "ابتثجحخد", "हिन्दीभाषा"]
ALPHABETS += [
    "的一是不了人我在有他这为之大来以个中上们",
    "あいうえおかきくけこさし",
    "가나다라마바사아자차",
    "ไทยภาษา",
    "0123456789",
    "😀🎉👩‍💻🇩🇪",
]
JOINTS = [" "] * 12 + ["  ", "\n", ", ", ". ", "-", "\n\n    ", "\t", "\u3000", "\u00a0", "\u2581", "\0", "'s "]


def babel(seed: int, num_words: int) -> str:
    """Words of many scripts, frequent ones often, the same for the same seed."""
    draw = np.random.Generator(np.random.Philox(seed))
    words = []
    for _ in range(300):
        letters = ALPHABETS[draw.integers(len(ALPHABETS))]
        words.append("".join(letters[i] for i in draw.integers(len(letters), size=1 + draw.geometric(0.25))))
    ranks = np.minimum(draw.zipf(1.3, num_words), len(words)) - 1
    joints = draw.integers(len(JOINTS), size=num_words)
    return "".join(words[rank] + JOINTS[joint] for rank, joint in zip(ranks, joints, strict=True))


def assert_identical(tokenizer: Tokenizer, texts: Iterable[str]) -> None:
    assert tokenizer.why_slow is None
    for text in texts:
        assert np.array_equal(tokenizer.encode(text), tokenizer.encode_slowly(text)), repr(text[:80])


AWKWARD = [
    "",
    " ",
    "\0",
    "\u2581",
    "a\u2581\u2581 b \u2581",
    "</s> <s> <pad> <unk> <extra_id_0><extra_id_99> <spare_3> <0x0A> <mask>",
    " " * 30_000,
    "\n" * 9_000,
    "\t \n" * 5_000,
    "x" * 100_000,
    "gattaca" * 20_000,
    "\u6f22" * 9_000,
    "\U0001f600" * 20_000,
    "word " * 3_000 + "\u2028" + "y" * 9_000 + "\u3000" + "z" * 100,
    "\u0301" * 50,
    "\x85\x1c\xa0" * 4_000,
]


@pytest.mark.parametrize("text", AWKWARD, ids=lambda text: repr(text[:12]))
def test_awkward_text_has_the_ids_of_sentencepiece(trained: Tokenizer, text: str) -> None:
    assert_identical(trained, [text, f"a{text}", f"{text} b", text[1:]])


@NO_SHRINKING_FIXTURE
@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.text(st.sampled_from(list("the of\n\t\u2581\0é"))))
def test_any_text_has_the_ids_of_sentencepiece(trained: Tokenizer, text: str) -> None:
    assert_identical(trained, [text])


def test_source_code_has_the_ids_of_sentencepiece(trained: Tokenizer, corpus: Path) -> None:
    assert_identical(trained, (path.read_text("utf-8") for path in sorted(corpus.rglob("*.py"))))


def test_text_of_many_scripts_has_the_ids_of_sentencepiece(trained: Tokenizer) -> None:
    assert_identical(trained, (babel(seed, 6000) for seed in range(100, 130)))


ADVERSARIAL_PIECES = st.dictionaries(
    st.text(st.sampled_from(list("aab \n\u00e9\u6f22")), min_size=1, max_size=5),
    st.integers(0, 3).map(lambda steps: -steps * 64 * STEP),  # few different scores: ties everywhere
    min_size=1,
    max_size=25,
)
ADVERSARIAL_TEXT = st.text(st.sampled_from(list("aaab  \n\u00e9\u6f22\0\u2581x")), max_size=120)


@NO_SHRINKING_FIXTURE
@given(pieces=ADVERSARIAL_PIECES, texts=st.lists(ADVERSARIAL_TEXT, min_size=1, max_size=20))
@example(pieces={"a": -1.0, "aa": -2.0, "aaa": -3.0}, texts=["a" * 50])
@example(pieces={"a b": -0.5, "a": -1.0, " b": -1.0, "b": 0.0}, texts=["a b a  b ab"])  # a piece across a space
@example(pieces={" ": 0.0}, texts=["   \0 "])
def test_ties_are_resolved_as_sentencepiece_does(
    use: Callable[[bytes], Tokenizer], pieces: dict[str, float], texts: list[str]
) -> None:
    assert_identical(use(hand_made({" ": -0.5} | pieces)), texts)


def test_a_segment_whose_sums_float32_would_round_is_left_to_sentencepiece(
    use: Callable[[bytes], Tokenizer],
) -> None:
    tokenizer = use(hand_made({"a": -1 - STEP, " ": -2.0, "b": -20.0}))
    cheap, dear = "a " * 3000, "\u6f22" * 5000 + " "
    text = cheap + dear + cheap + dear + dear
    left: list[str] = []
    encoder = tokenizer._fast
    assert isinstance(encoder, Encoder)
    ids = encoder.encode(text.encode(), lambda segment: left.append(segment) or tokenizer.encode_slowly(segment))
    assert 2 <= len(left) < len(list(segments(text)))
    assert all(segment in list(segments(text)) for segment in left)
    assert np.array_equal(ids, tokenizer.encode_slowly(text))


def test_chunks_that_take_each_others_place_in_the_cache_keep_their_ids(trained: Tokenizer) -> None:
    numbers = " ".join(str(number * 7919) for number in range(200_000))
    assert_identical(trained, [numbers, numbers[5:]])


def test_threads_share_a_tokenizer(trained: Tokenizer) -> None:
    texts = [babel(seed, 2000) for seed in range(6)]
    expected = [trained.encode_slowly(text) for text in texts]
    wrong: list[int] = []

    def work(offset: int) -> None:
        for turn in range(60):
            number = (turn + offset) % len(texts)
            if not np.array_equal(trained.encode(texts[number]), expected[number]):
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


SPACES = [chr(code) for code in range(sys.maxunicode) if chr(code).isspace()]


def native_segments(text: str) -> list[str]:
    data, library = text.encode(), native_library()
    assert library
    ends = np.empty(len(data) // 4096 + 1, dtype=np.int64)
    count = library.encoder_segments(data, len(data), ends.ctypes.data)
    begins = [0, *ends[: count - 1].tolist()] if count else []
    return [data[begin:end].decode() for begin, end in zip(begins, ends[:count].tolist(), strict=True)]


@settings(deadline=None, max_examples=200)
@given(
    runs=st.lists(
        st.tuples(st.sampled_from([*"ab", "\u00e9", "\u6f22", "\U0001f600", " ", "\n"]), st.integers(1, 5000)),
        max_size=12,
    ),
    space=st.sampled_from([*SPACES, "\u200b", "\u180e", "\ufeff"]),
)
def test_the_fast_encoder_cuts_the_same_segments(runs: list[tuple[str, int]], space: str) -> None:
    text = space.join(character * count for character, count in runs)
    assert native_segments(text) == list(segments(text))


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"U+{ord(space):04X}")
def test_every_white_space_ends_a_segment_alike(space: str) -> None:
    text = "a" * 9000 + space + "b" * 9000 + space
    assert native_segments(text) == list(segments(text))


@pytest.fixture(scope="module")
def lines(corpus: Path) -> list[str]:
    return "\n".join(path.read_text("utf-8") for path in sorted((corpus / "json").rglob("*.py"))).splitlines()


def foreign(lines: list[str], folder: Path, **options: object) -> bytes:
    """A model as others train it."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(folder / "own"), vocab_size=900, minloglevel=2, **options
    )
    return adopt_model(folder / "own.model")


AS_IT_IS = {
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "byte_fallback": True,
}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "no byte pieces"),
        ({"byte_fallback": True}, "it normalises text"),
        ({**AS_IT_IS, "add_dummy_prefix": True}, "it adds or removes white space"),
        ({**AS_IT_IS, "remove_extra_whitespaces": True}, "it adds or removes white space"),
        ({**AS_IT_IS, "model_type": "bpe"}, "neither unigram nor char"),
        ({**AS_IT_IS, "user_defined_symbols": ["def "]}, "user-defined symbols"),
        (AS_IT_IS, "scores are not multiples of 1/256"),
        ({**AS_IT_IS, "split_by_whitespace": False}, "scores are not multiples of 1/256"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value) or "default",
)
def test_a_model_without_certainty_is_left_to_sentencepiece(
    lines: list[str], tmp_path: Path, use: Callable[[bytes], Tokenizer], options: dict[str, object], reason: str
) -> None:
    tokenizer = use(foreign(lines, tmp_path, **options))
    assert tokenizer.why_slow == reason
    for text in [*lines[:50], "  a  \u6f22\n\u2581x", ""]:
        assert np.array_equal(tokenizer.encode(text), tokenizer.encode_slowly(text))


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ({" ": -1.0, "b": 0.5}, "scores are not multiples of 1/256"),
        ({" ": -1.0, "b": -0.001}, "scores are not multiples of 1/256"),
        ({" ": -1.0, "b": -70_000.0}, "scores are not multiples of 1/256"),
        ({" ": -1.0, "b" * 40: -3_000.0}, "scores are too low"),
        ({"a": -1.0, "b": -2.0}, "no piece for the space"),
    ],
)
def test_pieces_that_could_give_other_ids_are_left_to_sentencepiece(
    use: Callable[[bytes], Tokenizer], pieces: dict[str, float], reason: str
) -> None:
    tokenizer = use(hand_made(pieces))
    assert tokenizer.why_slow == reason
    assert np.array_equal(tokenizer.encode("aabb " * 30), tokenizer.encode_slowly("aabb " * 30))


def test_a_model_that_does_not_split_at_spaces_is_exact_too(
    lines: list[str], tmp_path: Path, use: Callable[[bytes], Tokenizer]
) -> None:
    model = foreign(lines, tmp_path, **AS_IT_IS, split_by_whitespace=False)
    proto = ModelProto.FromString(model)
    assert any("\u2581" in piece.piece[1:] for piece in proto.pieces)
    for piece in proto.pieces:
        piece.score = round(piece.score * 256) / 256 if piece.type == piece.NORMAL else piece.score
    assert_identical(use(proto.SerializeToString()), ["\n".join(lines), *lines, babel(3, 4000)])


def test_without_a_compiler_sentencepiece_encodes_and_the_ids_are_the_same(trained: Tokenizer, tmp_path: Path) -> None:
    text = babel(7, 2000)
    (tmp_path / "text").write_text(text, encoding="utf-8", newline="")
    code = (
        "import pathlib, sys; from data_prep.tokenizer import Tokenizer; "
        "tokenizer = Tokenizer.load(sys.argv[1]); "
        "print(tokenizer.why_slow, tokenizer.encode(pathlib.Path(sys.argv[2]).read_bytes().decode()).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(trained.folder), str(tmp_path / "text")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CXX": "no-such-compiler"},
    )
    assert done.stdout.strip() == f"no C++ compiler {trained.encode(text).tolist()}"
