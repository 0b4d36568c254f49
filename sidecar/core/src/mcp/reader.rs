//! JSON read once, strictly: what it accepts has one meaning for every parser.
