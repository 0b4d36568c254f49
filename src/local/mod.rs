//! The whole system in one process, from files.
