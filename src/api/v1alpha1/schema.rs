//! Pieces of OpenAPI schema that derive attributes cannot say.

use kube::core::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};

/// What an McpServer or an McpClient may be called.
pub(super) fn object_name() -> Rule {
    Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 50").message(
        "metadata.name must start with a letter, hold only lower-case letters, digits and -, not end in -, and have at most 50 characters",
    )
}

/// A map of strings with at most 16 members of at most 1024 characters.
pub(super) fn bounded_metadata(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 1024}
    })
}

/// A map of resource quantities.
pub(super) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 8,
        "additionalProperties": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    })
}

/// A JWK Set, kept as it is: judged by the key parser, not by the schema.
pub(super) fn jwks(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "keys": {
                "type": "array",
                "maxItems": 16,
                "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
            }
        },
        "required": ["keys"]
    })
}
