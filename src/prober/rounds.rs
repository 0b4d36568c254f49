//! When one server's pods are asked: at once after a change and often until the answers are right, then each minute.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::future::join_all;
use jiff::Timestamp;
use lumoauth_core::{UnixTime, config::Generation};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{Asker, Expectation, Findings, PodFinding, PodTarget, Report, Running, Target, Verdict};
use crate::registry::ObjectKey;

/// How often right answers are asked for again.
const INTERVAL: Duration = Duration::from_mins(1);
/// The shortest pause between two rounds.
const SHORTEST: Duration = Duration::from_millis(200);

/// How long to wait after a round, `since_change` being the time since the target changed: 200 ms in the first two
/// seconds, so that Programmed follows an edit closely, then a tenth of the time passed, up to a minute.
pub(super) fn pause(settled: bool, since_change: Duration) -> Duration {
    if settled { INTERVAL } else { (since_change / 10).clamp(SHORTEST, INTERVAL) }
}

/// What a pod answered, and to what question.
struct Answered {
    at: Instant,
    generation: Generation,
    expectation: Arc<Expectation>,
    finding: PodFinding,
}

/// Asks until the target is dropped.
pub(super) async fn run(
    key: ObjectKey,
    asker: Arc<Asker>,
    mut target: watch::Receiver<Arc<Target>>,
    reports: mpsc::Sender<Report>,
) {
    let mut answered: HashMap<String, Answered> = HashMap::new();
    let mut reported: Option<Arc<Findings>> = None;
    let mut changed_at = Instant::now();
    loop {
        let now = Arc::clone(&target.borrow_and_update());
        let findings = Arc::new(round(&asker, &now, &mut answered).await);
        let settled = findings.is_settled(&now);
        if reported.as_ref() != Some(&findings) {
            reported = Some(Arc::clone(&findings));
            if reports.send(Report { key: key.clone(), findings }).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = target.changed() => match changed {
                Ok(()) => changed_at = Instant::now(),
                Err(_) => return,
            },
            () = tokio::time::sleep(pause(settled, changed_at.elapsed())) => {
                if settled {
                    answered.clear();
                }
            }
        }
    }
}

/// One round. A pod that answered the same question rightly less than an interval ago is not asked again, so that a
/// roll-out of many pods asks each of them about once; after a settled interval everyone is.
async fn round(asker: &Asker, target: &Target, answered: &mut HashMap<String, Answered>) -> Findings {
    answered.retain(|uid, _| target.pods.iter().any(|pod| pod.uid == *uid));
    let now = UnixTime(u64::try_from(Timestamp::now().as_second()).unwrap_or_default());
    let due: Vec<&PodTarget> =
        target.pods.iter().filter(|pod| !is_fresh(answered.get(&pod.uid), pod, target)).collect();
    let new = join_all(due.iter().map(|pod| asker.pod(pod, &target.generation, &target.expectation, now))).await;
    for (pod, finding) in due.into_iter().zip(new) {
        let answer = Answered {
            at: Instant::now(),
            generation: target.generation.clone(),
            expectation: Arc::clone(&target.expectation),
            finding,
        };
        answered.insert(pod.uid.clone(), answer);
    }
    let behind = target.pods.iter().any(|pod| {
        pod.ready && answered.get(&pod.uid).is_some_and(|answer| answer.finding.running.is(&target.generation))
    });
    let service = match target.service.filter(|_| behind) {
        Some(address) => Some(asker.enforcement(address, &target.expectation, now).await),
        None => None,
    };
    let pods = answered.iter().map(|(uid, answer)| (uid.clone(), answer.finding.clone())).collect();
    Findings { generation: target.generation.clone(), pods, service }
}

fn is_fresh(answer: Option<&Answered>, pod: &PodTarget, target: &Target) -> bool {
    answer.is_some_and(|answer| {
        let same = answer.generation == target.generation && answer.expectation == target.expectation;
        let right = match &answer.finding {
            PodFinding { running: Running::Generation(..), enforcement: Some(Verdict::Right) } => true,
            PodFinding { running, enforcement: None } => !pod.ready && running.is(&target.generation),
            _ => false,
        };
        same && right && answer.at.elapsed() < INTERVAL
    })
}
