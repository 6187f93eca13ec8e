"""What may reach what: exact zero gradients on the whole model; and the parity with transformers' T5."""

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from data_prep.errors import SpanwrightError
from pipeline.batch import Batch, Views
from pipeline.export.layouts.t5 import config_fields, t5_name
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder
from pipeline.model.transformer import set_activation_checkpointing

VOCAB = 192
CONFIG = ModelConfig(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=3)
ENCODER_LENGTHS, DECODER_LENGTHS = [9, 0, 1, 140], [4, 0, 2, 6]


def build(tie: bool = True, dropout: float = 0.0) -> EncoderDecoder:
    return EncoderDecoder(
        CONFIG.model_copy(update={"tie_word_embeddings": tie, "dropout_rate": dropout}), VOCAB, seed=3
    )


def states_and_inputs(model: EncoderDecoder, views: Views) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The decoder's states, and the embedded rows of both views as leaves."""
    encoder_rows = model.embedding(views["encoder"].tokens).detach().requires_grad_()
    decoder_rows = model.embedding(views["decoder"].tokens).detach().requires_grad_()
    memory = model.encoder.encode(encoder_rows, views["encoder"])
    return model.decoder.decode(decoder_rows, views["decoder"], memory, views["encoder"]), encoder_rows, decoder_rows


def touched_rows(gradient: torch.Tensor) -> list[int]:
    return torch.nonzero(gradient.abs().sum(1)).squeeze(1).tolist()


def test_a_decoder_row_is_reached_by_its_own_documents_past_and_by_nothing_else(random_views) -> None:
    views = random_views(ENCODER_LENGTHS, DECODER_LENGTHS, VOCAB, seed=0)
    states, encoder_rows, decoder_rows = states_and_inputs(build(), views)
    row = 4 + 2 + 3  # the fourth row of the last sequence
    gradients = torch.autograd.grad(states[row].pow(2).sum(), (encoder_rows, decoder_rows))
    assert touched_rows(gradients[0]) == list(range(10, 150))  # all of its encoder sequence
    assert touched_rows(gradients[1]) == [6, 7, 8, 9]  # itself and the rows before it


def test_the_tail_reaches_nothing(random_views) -> None:
    views = random_views(ENCODER_LENGTHS, DECODER_LENGTHS, VOCAB, seed=1)
    states, encoder_rows, decoder_rows = states_and_inputs(build(), views)
    gradients = torch.autograd.grad(states[:12].pow(2).sum(), (encoder_rows, decoder_rows))
    assert touched_rows(gradients[0]) == list(range(150))
    assert touched_rows(gradients[1]) == list(range(12))


def test_a_document_gets_the_same_bits_whatever_lies_beside_it(random_views, view) -> None:
    model = build().eval()
    views = random_views(ENCODER_LENGTHS, DECODER_LENGTHS, VOCAB, seed=2)
    alone = {
        "encoder": view([views["encoder"].tokens[10:150].tolist()]),
        "decoder": view([views["decoder"].tokens[6:12].tolist()]),
    }
    together, _, _ = states_and_inputs(model, views)
    apart, _, _ = states_and_inputs(model, alone)
    torch.testing.assert_close(together[6:12], apart, rtol=0, atol=2e-6)  # GEMM blocks differ with the number of rows


def test_another_token_behind_the_causal_mask_changes_no_bit(random_views) -> None:
    model = build().eval()
    views = random_views(ENCODER_LENGTHS, DECODER_LENGTHS, VOCAB, seed=3)
    before, _, _ = states_and_inputs(model, views)
    views["decoder"].tokens[10] = (views["decoder"].tokens[10] + 1) % VOCAB
    after, _, _ = states_and_inputs(model, views)
    changed = touched_rows((before - after).detach())
    assert changed == [10, 11]


@pytest.mark.parametrize("tie", [True, False])
def test_logits_and_loss_are_those_of_transformers_t5(tie: bool, random_views) -> None:
    ours = build(tie).eval()
    theirs = T5ForConditionalGeneration(
        T5Config(**config_fields(ours.config, ours.vocab_size), decoder_start_token_id=0)
    )
    if not tie:
        theirs.lm_head.weight = torch.nn.Parameter(torch.empty(VOCAB, CONFIG.d_model))
    load_into(theirs, ours)
    views = random_views([140, 1, 17], [30, 1, 5], VOCAB, seed=4)
    states = ours.decode(views["decoder"], ours.encode(views["encoder"]), views["encoder"])
    for source, target in (
        (slice(0, 140), slice(0, 30)),
        (slice(140, 141), slice(30, 31)),
        (slice(141, 158), slice(31, 36)),
    ):
        labels = labels_of(views["decoder"])[target]
        expected = theirs(input_ids=views["encoder"].tokens[source][None], labels=labels[None])
        logits = ours.head(states[target])
        torch.testing.assert_close(logits, expected.logits[0], rtol=0, atol=1e-4)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        torch.testing.assert_close(loss, expected.loss, rtol=1e-5, atol=0)


def labels_of(view: Batch) -> torch.Tensor:
    assert view.labels is not None
    return view.labels.long()


@torch.no_grad()
def load_into(theirs: T5ForConditionalGeneration, ours: EncoderDecoder) -> None:
    parameters = dict(theirs.eval().named_parameters())
    renamed = {t5_name(name): tensor for name, tensor in ours.named_parameters()}
    assert renamed.keys() == parameters.keys()
    for name, tensor in renamed.items():
        assert parameters[name].shape == tensor.shape, name
        parameters[name].copy_(tensor)


def test_a_tied_head_is_the_embeddings_own_parameter() -> None:
    model = build(tie=True)
    assert model.head.weight is model.embedding.weight
    assert "head.weight" not in dict(model.named_parameters())


def test_dropout_is_on_in_training_only_and_repeats_its_bits(random_views) -> None:
    model = build(dropout=0.2)
    views = random_views(ENCODER_LENGTHS, DECODER_LENGTHS, VOCAB, seed=5)
    training = [states_and_inputs(model.train(), views)[0] for _ in range(2)]
    evaluation = states_and_inputs(model.eval(), views)[0]
    assert torch.equal(*training)
    assert torch.equal(evaluation, states_and_inputs(build().eval(), views)[0])
    assert not torch.allclose(training[0][:12], evaluation[:12], atol=1e-2)


def test_every_dropout_has_a_stream_of_its_own() -> None:
    model = build(dropout=0.1)
    keys = [module.key for name, module in model.named_modules() if name.split(".")[-1].startswith("dropout")]
    assert None not in keys
    assert len(set(keys)) == len(keys) == 4 + 2 * 4 + 2 * 6  # stacks, encoder blocks, decoder blocks


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_activation_checkpointing_gives_the_same_bits(dropout: float, random_views) -> None:
    views = random_views(ENCODER_LENGTHS, DECODER_LENGTHS, VOCAB, seed=6)
    results = []
    for enabled in (False, True):
        model = build(dropout=dropout)
        set_activation_checkpointing(model, enabled)
        states = model.decode(views["decoder"], model.encode(views["encoder"]), views["encoder"])
        states.pow(2).sum().backward()
        results.append([states, *(parameter.grad for parameter in model.parameters())])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_loading_other_weights_is_refused_by_name() -> None:
    model = build()
    weights = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    with pytest.raises(SpanwrightError, match=r"extra\.weight"):
        model.load_parameters({**weights, "extra.weight": torch.zeros(1)})
    with pytest.raises(SpanwrightError, match=r"encoder\.norm\.weight has shape \[7\], the model \[32\]"):
        model.load_parameters({**weights, "encoder.norm.weight": torch.zeros(7)})
    model.load_parameters({name: tensor + 1 for name, tensor in weights.items()})
    assert torch.equal(model.encoder.norm.weight, torch.full((32,), 2.0))
