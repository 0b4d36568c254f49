//! Events: people are told when a condition changes, and only then.

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::api::names;

/// The longest note the API server accepts, in bytes.
const MAX_NOTE: usize = 1024;

/// Publishes Events (events.k8s.io). Clones share one series cache.
#[derive(Clone)]
pub struct Events(Recorder);

/// A condition that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    kind: EventType,
    action: String,
    reason: String,
    note: String,
}

impl Events {
    /// Publishes as `instance`, which is the pod's name.
    pub fn new(client: kube::Client, instance: String) -> Self {
        let reporter = Reporter { controller: names::OPERATOR.to_owned(), instance: Some(instance) };
        Self(Recorder::new(client, reporter))
    }

    /// Publishes one Event for each condition that differs between `old` and `new` in status or reason. Call it after
    /// the status is written. An Event that cannot be published is logged: nothing depends on it.
    pub async fn conditions<K>(&self, object: &K, old: &[Condition], new: &[Condition])
    where
        K: Resource<DynamicType = ()>,
    {
        self.changes(&object.object_ref(&()), old, new).await;
    }

    /// The same of an object of any kind.
    pub(super) async fn changes(&self, regarding: &ObjectReference, old: &[Condition], new: &[Condition]) {
        for change in changes(old, new) {
            let Change { kind: type_, action, reason, note } = change;
            let event = Event { type_, reason, note: Some(note), action, secondary: None };
            if let Err(error) = self.0.publish(&event, regarding).await {
                tracing::debug!(%error, kind = regarding.kind, name = regarding.name, "an Event could not be published");
            }
        }
    }
}

/// What changed, in the order of `new`. A condition that appears as Unknown is no news.
fn changes(old: &[Condition], new: &[Condition]) -> Vec<Change> {
    let is_news = |condition: &&Condition| match old.iter().find(|before| before.type_ == condition.type_) {
        Some(before) => before.status != condition.status || before.reason != condition.reason,
        None => condition.status != "Unknown",
    };
    new.iter()
        .filter(is_news)
        .map(|condition| {
            let mut note = format!("{} is {}: {}", condition.type_, condition.status, condition.message);
            note.truncate(note.floor_char_boundary(MAX_NOTE));
            Change {
                kind: if condition.status == "False" { EventType::Warning } else { EventType::Normal },
                action: condition.type_.clone(),
                reason: condition.reason.clone(),
                note,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use rstest::rstest;

    fn condition(status: &str, reason: &str, message: &str) -> Condition {
        Condition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    #[rstest]
    #[case::same(Some(("True", "Ok", "x")), ("True", "Ok", "x"), None)]
    #[case::only_the_message(Some(("True", "Ok", "x")), ("True", "Ok", "y"), None)]
    #[case::status(Some(("True", "Ok", "x")), ("False", "Ok", "x"), Some("Warning"))]
    #[case::reason(Some(("False", "A", "x")), ("False", "B", "x"), Some("Warning"))]
    #[case::back(Some(("False", "A", "x")), ("True", "Ok", "x"), Some("Normal"))]
    #[case::to_unknown(Some(("True", "Ok", "x")), ("Unknown", "Lost", "x"), Some("Normal"))]
    #[case::new(None, ("False", "A", "x"), Some("Warning"))]
    #[case::new_and_unknown(None, ("Unknown", "A", "x"), None)]
    fn a_change_of_status_or_reason_is_news(
        #[case] old: Option<(&str, &str, &str)>,
        #[case] new: (&str, &str, &str),
        #[case] expected: Option<&str>,
    ) {
        let old: Vec<_> = old.into_iter().map(|(status, reason, message)| condition(status, reason, message)).collect();
        let changes = changes(&old, &[condition(new.0, new.1, new.2)]);
        assert_eq!(changes.first().map(|change| format!("{:?}", change.kind)), expected.map(str::to_owned));
    }

    #[test]
    fn a_note_is_cut_to_what_the_api_server_accepts() {
        let changes = changes(&[], &[condition("False", "A", &"ä".repeat(1000))]);
        let note = &changes.first().unwrap().note;
        assert!(note.len() <= MAX_NOTE && note.len() > MAX_NOTE - 2);
    }
}
