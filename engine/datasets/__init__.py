"""Data sets: manifests, splits and phantoms become batches of tensors, made lazily and cached."""
