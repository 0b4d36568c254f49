//! TLS server for the mutation of pods.
