"""DecoderLens: the decoder reads an earlier layer of the encoder and writes what it makes of it.

Langedijk et al. 2024 ("DecoderLens: Layerwise Interpretation of Encoder-Decoder Transformers"): nothing is trained; an
earlier layer's states go through the encoder's last norm, where it has one, and take the place of its output.
"""

from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.gaps import GapFiller, exactly, gaps_of
from pipeline.evaluation.subject import Subject, needs_decoder, needs_gaps

ABOUT = "what the decoder writes when it reads each layer of the encoder"
NEEDS = "an encoder-decoder that fills gaps"
GAPS, HIDDEN, SAMPLES = 48, 3, 2


def measure(subject: Subject) -> Figures:
    """Loss and exact match of spans by the layer that is read, 0 being the embeddings."""
    needs_decoder(subject, "decoder_lens")
    needs_gaps(subject, "decoder_lens")
    gaps = gaps_of(subject, GAPS, HIDDEN)
    layers, samples = {}, []
    for layer in range(subject.model.num_layers + 1):
        filler = GapFiller(subject, layer)
        written = filler.write(gaps)
        right = exactly(written, gaps)
        layers[str(layer)] = {"loss": Figure.mean(filler.losses(gaps)), "exact": Figure.mean(right)}
        samples += [
            {
                "layer": layer,
                "hidden": subject.tokenizer.decode(gap.hidden),
                "written": subject.tokenizer.decode(tokens),
            }
            for gap, tokens in list(zip(gaps, written, strict=True))[:SAMPLES]
        ]
    last = layers[str(subject.model.num_layers)]
    settings = {**subject.texts.settings, "gaps": len(gaps), "hidden_tokens": HIDDEN}
    return Figures(last, {"layer": layers}, settings, samples=samples)
