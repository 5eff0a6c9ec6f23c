"""Models with places for 256 tokens, of families whose tables of positions else end
earlier: what generates 200 tokens."""
import dataclasses

from . import decoders, seq2seq

D20 = ("dynamo", 20)
PLACES = 256
GPT2 = {"gpt2-long": (
    "GPT2", dict(vocab_size=101, n_embd=48, n_layer=2, n_head=3, n_positions=PLACES,
                 bos_token_id=1, eos_token_id=2), "sdpa", [D20], [D20], True)}
SMALL = dict(seq2seq.BART, d_model=48, encoder_attention_heads=3, decoder_attention_heads=3)
SEQ2SEQ = {
    "bart-long": ("Bart", dict(SMALL, max_position_embeddings=PLACES), "sdpa"),
    "whisper-long": ("Whisper", dict(
        SMALL, num_mel_bins=12, max_source_positions=10, max_target_positions=PLACES,
        begin_suppress_tokens=None, suppress_tokens=None), "sdpa"),
}
# What is exported of an encoder-decoder: the encoder in one file, and the decoder in
# another, without a past.
KEPT = ("-encoder", "-decoder")


def families():
    for family in decoders.families(table=GPT2):
        if family.name.endswith("-kv"):
            yield family
    for family in seq2seq.families(SEQ2SEQ):
        if family.name.endswith(KEPT):
            yield dataclasses.replace(family, exports=[e for e in family.exports
                                                       if e[:2] == D20])
