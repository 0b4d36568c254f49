//! AdmissionReview (admission.k8s.io/v1) as it travels. The object stays raw JSON, and whatever has a uid is answered
//! with it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    inject::{Injection, Refusal},
    registry::ObjectKey,
};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// What an API server asks.
#[derive(Debug)]
pub(super) struct Request {
    /// To be echoed.
    pub(super) uid: String,
    /// Namespace the object is created in; the object itself may not say.
    pub(super) namespace: String,
    /// The object as it was sent.
    pub(super) object: Option<Value>,
    operation: String,
    resource: String,
    sub_resource: String,
}

/// A body that cannot be answered with a review, because it has no uid.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReviewError {
    /// Not JSON.
    #[error("the body is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Another kind or version.
    #[error("the body is not an {KIND} of {API_VERSION}")]
    Kind,
    /// No request in it, or one without uid.
    #[error("the review holds no request with a uid")]
    Uid,
}

impl Request {
    /// Reads a body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ReviewError> {
        let mut review: Value = serde_json::from_slice(body)?;
        let is = |key: &str, wanted: &str| review.get(key).and_then(Value::as_str) == Some(wanted);
        if !is("apiVersion", API_VERSION) || !is("kind", KIND) {
            return Err(ReviewError::Kind);
        }
        let request = review.get_mut("request").ok_or(ReviewError::Uid)?;
        let object = request.get_mut("object").map(Value::take).filter(Value::is_object);
        let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let group = text("/resource/group");
        let resource = text("/resource/resource");
        let request = Self {
            uid: text("/uid"),
            namespace: text("/namespace"),
            object,
            operation: text("/operation"),
            resource: if group.is_empty() { resource } else { format!("{resource}.{group}") },
            sub_resource: text("/subResource"),
        };
        if request.uid.is_empty() { Err(ReviewError::Uid) } else { Ok(request) }
    }

    /// Whether a pod is created. Nothing else concerns us, whatever the webhook configuration selects.
    pub(super) fn creates_pod(&self) -> bool {
        self.operation == "CREATE" && self.resource == "pods" && self.sub_resource.is_empty()
    }

    /// The pod's name, or what its name will begin with.
    pub(super) fn name(&self) -> &str {
        let metadata = self.object.as_ref().and_then(|object| object.get("metadata"));
        let text = |key| metadata.and_then(|metadata| metadata.get(key)).and_then(Value::as_str);
        text("name").or_else(|| text("generateName")).unwrap_or_default()
    }
}

/// What an API server is answered.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Why not, if not.
    pub(super) denial: Option<Denial>,
    /// One word for metrics.
    pub(super) reason: &'static str,
    injection: Option<Injection>,
}

/// A `metav1.Status`.
#[derive(Debug)]
pub(super) struct Denial {
    code: u16,
    reason: &'static str,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn unchanged() -> Self {
        Self { denial: None, reason: "", injection: None }
    }

    pub(super) fn admitted(injection: Injection) -> Self {
        Self { denial: None, reason: "", injection: Some(injection) }
    }

    pub(super) fn refused(refusal: &Refusal) -> Self {
        Self::denied(403, "Forbidden", refusal.label(), refusal.to_string())
    }

    pub(super) fn malformed(message: &str) -> Self {
        Self::denied(400, "BadRequest", "malformed", message.to_owned())
    }

    /// The answer is not known; to guess would leave a pod unguarded.
    pub(super) fn unavailable(key: &ObjectKey) -> Self {
        let message = format!("cannot read McpServer {key} from the API server right now: try again");
        Self::denied(503, "ServiceUnavailable", "lookup_failed", message)
    }

    fn denied(code: u16, reason: &'static str, label: &'static str, message: String) -> Self {
        Self { denial: Some(Denial { code, reason, message }), reason: label, injection: None }
    }

    /// One word for metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match (&self.denial, &self.injection) {
            (Some(Denial { code: 403, .. }), _) => "refused",
            (Some(_), _) => "error",
            (None, Some(injection)) if !injection.patch.is_empty() => "patched",
            (None, _) => "unchanged",
        }
    }

    /// The review to send.
    pub(super) fn review(&self, uid: &str) -> Value {
        let mut response = json!({"uid": uid, "allowed": self.denial.is_none()});
        let mut set = |key: &str, value: Value| response.as_object_mut().map(|map| map.insert(key.to_owned(), value));
        if let Some(Denial { code, reason, message }) = &self.denial {
            set("status", json!({"code": code, "reason": reason, "message": message}));
        }
        if let Some(Injection { patch, warnings }) = &self.injection {
            if !patch.is_empty() {
                set("patchType", json!("JSONPatch"));
                set("patch", json!(STANDARD.encode(json!(patch).to_string())));
            }
            if !warnings.is_empty() {
                set("warnings", json!(warnings));
            }
        }
        json!({"apiVersion": API_VERSION, "kind": KIND, "response": response})
    }
}
