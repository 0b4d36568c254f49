//! Watches that feed the index: the only part of the registry that talks to a cluster.
