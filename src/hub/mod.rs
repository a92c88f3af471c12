//! The task hub: names, keys, rows, messages and blobs as they lie in storage.
