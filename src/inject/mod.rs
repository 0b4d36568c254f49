//! (raw Pod JSON, snapshot) -> plan -> JSON patch. Pure.
