"""The in-process engine: continuous batching over a packed batch, adapters, grammars, samplers."""
