//! A subscription as the API shows it: the request's own JSON, and what Forebay knows besides.

use std::time::Duration;

use domain::ports::{Subscription, SubscriptionStatus};
use domain::{Ledger, RouteName, SourceName, SubscriptionId, Timestamp};
use serde::{Serialize, Serializer};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscriptionView {
    id: SubscriptionId,
    name: String,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SourceName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_queue: Option<DeadLetterQueue>,
    retry_policy: RetryPolicy,
    route: RouteName,
    status: SubscriptionStatus,
    date_created: Timestamp,
    date_modified: Timestamp,
    /// `None`: not counted yet.
    ledger: Option<Ledger>,
}

#[derive(Debug, Serialize)]
struct DeadLetterQueue {
    url: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RetryPolicy {
    max_retries: u32,
    #[serde(serialize_with = "seconds")]
    retry_interval_seconds: Duration,
}

impl SubscriptionView {
    pub(super) fn of(subscription: Subscription) -> Self {
        let request = subscription.request;
        Self {
            id: subscription.id,
            name: request.name,
            url: request.url,
            source: request.source,
            dead_letter_queue: request.dead_letter_url.map(|url| DeadLetterQueue { url }),
            retry_policy: RetryPolicy {
                max_retries: request.max_retries,
                retry_interval_seconds: request.retry_interval,
            },
            route: subscription.route,
            status: subscription.status,
            date_created: subscription.created_at,
            date_modified: subscription.updated_at,
            ledger: subscription.ledger,
        }
    }
}

/// `10` and not `10.0`, as it was given.
fn seconds<S: Serializer>(interval: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    if interval.subsec_nanos() == 0 {
        serializer.serialize_u64(interval.as_secs())
    } else {
        serializer.serialize_f64(interval.as_secs_f64())
    }
}
