"""The signature of every public loss and module, as documented: the text is the contract."""

FUNCTIONS = {
    "info_nce": """(query, key, target=None, *, negatives=None, temperature=0.07,
        similarity="cosine", key_bias=None, key_ids=None, label_smoothing=0.0, margin=0.0,
        decoupled=False, weights=None, group=None, reduction="mean")""",
}

# Constructor and forward.
MODULES = {
    "InfoNCELoss": (
        """(temperature=0.07, learnable=False, *, similarity="cosine", label_smoothing=0.0,
        margin=0.0, decoupled=False, group=None, reduction="mean")""",
        """(query, key, target=None, *, negatives=None, key_bias=None, key_ids=None,
        weights=None)""",
    ),
}
