//! The task hub: names, keys, rows, messages and blobs as they lie in storage.

mod blob_names;
mod codec;
#[cfg(test)]
mod golden;
mod gzip;
mod instance_row;
mod keys;
mod names;
mod partition;
mod rows;
