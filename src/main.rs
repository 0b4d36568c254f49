//! The `lumoauth` binary.

fn main() {}
