"""The configuration of a model of Sonde's own architecture, for transformers (trust_remote_code=True).

Everything that the model computes is in the section "sonde" of config.json: the options of the whole model and, under
"layers", those of single blocks. The attributes that other code reads (hidden_size, ...) follow from it.
"""
from transformers import PretrainedConfig


class SondeConfig(PretrainedConfig):
    model_type = "sonde"
    keys_to_ignore_at_inference = ["past_key_values"]

    def __init__(self, sonde=None, **kwargs):
        self.sonde = sonde or {}
        model = self.sonde.get("model")
        if model:
            self.vocab_size = model["vocab"]
            self.hidden_size = model["width"]
            self.num_hidden_layers = model["depth"]
            self.num_attention_heads = model["heads"]
            self.num_key_value_heads = model["kv_heads"]
            self.head_dim = model["head_dim"]
            self.max_position_embeddings = model["context"]
            self.initializer_range = model["init_std"]
            kwargs.update(tie_word_embeddings=bool(model["tie"]))
            for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                         "num_key_value_heads", "head_dim", "max_position_embeddings", "initializer_range",
                         "per_layer_config"):      # the section has the blocks' own options
                kwargs.pop(name, None)
        super().__init__(**kwargs)
        self.tie_word_embeddings = bool(model and model["tie"])
