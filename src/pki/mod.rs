//! One CA, its leaves and their rotation; the keys that sign access tokens.

pub mod signing;
