//! Fields that a subscription does not have and that people write all the same: those of Genesys Cloud's own webhooks,
//! channels and integrations, and those of other services. Each has an answer of its own.

const GIVEN: &str = "Forebay gives it; leave it out";
const URL: &str = "write the address that events are posted to into \"url\"";
const DEAD_LETTER_URL: &str =
    "write the address that dead letters are posted to into \"deadLetterQueue\": {\"url\": …}";
const MAX_RETRIES: &str =
    "write the attempts after the first into \"retryPolicy\": {\"maxRetries\": …}";
const INTERVAL: &str =
    "write the time between two attempts into \"retryPolicy\": {\"retryIntervalSeconds\": …}";
const AMAZON: &str = "a subscription posts to an HTTP address; for a queue or a bucket, write a destination of type \"sqs\" or \"s3\" into the configuration";
const DEAD_AMAZON: &str = "a subscription's dead letters go to an HTTP address; for a queue or a bucket, write a route with dead_letter = { to = [\"…\"] } into the configuration";
const WHICH: &str = "a subscription takes every event of its source: name that in \"source\"";
const CHANNEL: &str = "Forebay has no notification channels: a subscription takes the events that are posted to a source, which \"source\" names";
const SECRETS: &str = "subscriptions sign nothing: verify where events come in (`verify` of the source), or write a destination of type \"http\" with `sign` into the configuration";
const HEADERS: &str = "an event goes out with the headers that it came with; for headers of your own, write a destination of type \"http\" with `headers` into the configuration";
const SWITCH: &str =
    "a subscription is on until it is deleted; POST /api/v1/routes/ROUTE/pause holds its events";
const TIMEOUT: &str = "it is subscriptions.timeout of the configuration, for all of them";
const BACKOFF: &str = "the time between two attempts of a subscription stays the same; a route in the configuration has `backoff`";

/// Lower case, letters and digits only.
const TOP: &[(&[&str], &str)] = &[
    (
        &[
            "id",
            "route",
            "status",
            "datecreated",
            "datemodified",
            "ledger",
            "selfuri",
            "version",
            "createdby",
            "modifiedby",
        ],
        GIVEN,
    ),
    (
        &[
            "outboundnotificationwebhookurl",
            "webhookurl",
            "callbackurl",
            "targeturl",
            "uri",
            "endpoint",
            "endpointurl",
            "address",
            "target",
        ],
        URL,
    ),
    (
        &[
            "outboundnotificationwebhooksignaturesecrettoken",
            "secret",
            "secrettoken",
            "signingsecret",
            "token",
            "signature",
        ],
        SECRETS,
    ),
    (&["webhookheaders", "headers", "customheaders"], HEADERS),
    (
        &[
            "eventfilter",
            "eventfilters",
            "filter",
            "filters",
            "events",
            "eventtypes",
            "eventtype",
            "when",
        ],
        WHICH,
    ),
    (
        &[
            "channel",
            "channelid",
            "connecturi",
            "topics",
            "topic",
            "topicname",
            "topicnames",
            "subscriptions",
            "expires",
            "integrationid",
            "integration",
            "supportedcontent",
            "messagingsetting",
        ],
        CHANNEL,
    ),
    (
        &[
            "awsaccountid",
            "awsaccountregion",
            "eventsourcesuffix",
            "queueurl",
            "queuearn",
            "bucket",
            "region",
        ],
        AMAZON,
    ),
    (
        &[
            "deadletterurl",
            "dlq",
            "dlqurl",
            "errorurl",
            "deadletter",
            "deadletterqueueurl",
        ],
        DEAD_LETTER_URL,
    ),
    (
        &[
            "maxretries",
            "maxattempts",
            "retries",
            "retrycount",
            "retry",
        ],
        MAX_RETRIES,
    ),
    (
        &[
            "retryintervalseconds",
            "retryinterval",
            "retrydelay",
            "retrydelayseconds",
        ],
        INTERVAL,
    ),
    (&["enabled", "active", "state", "paused"], SWITCH),
    (&["timeout", "timeoutseconds"], TIMEOUT),
];

const OF_QUEUE: &[(&[&str], &str)] = &[(
    &[
        "queueurl",
        "queuearn",
        "arn",
        "type",
        "sqs",
        "region",
        "bucket",
        "targetarn",
        "deadlettertargetarn",
    ],
    DEAD_AMAZON,
)];

const OF_RETRY: &[(&[&str], &str)] = &[
    (
        &[
            "maxattempts",
            "retries",
            "retrycount",
            "maxretrycount",
            "attempts",
        ],
        MAX_RETRIES,
    ),
    (
        &[
            "retryinterval",
            "retryintervalms",
            "interval",
            "intervalseconds",
            "retrydelay",
            "retrydelayseconds",
            "delayseconds",
        ],
        INTERVAL,
    ),
    (
        &[
            "backoff",
            "backofftype",
            "backoffmultiplier",
            "multiplier",
            "strategy",
            "maxinterval",
            "jitter",
        ],
        BACKOFF,
    ),
    (&["timeout", "timeoutseconds"], TIMEOUT),
];

/// What to write instead of a field of somebody else's, within the field `of`.
pub(super) fn instead(of: &str, name: &str) -> Option<&'static str> {
    let table = match of {
        "deadLetterQueue" => OF_QUEUE,
        "retryPolicy" => OF_RETRY,
        _ => TOP,
    };
    let plain = plain(name);
    let mut rows = table.iter();
    rows.find(|(names, _)| names.contains(&plain.as_str()))
        .map(|(_, instead)| *instead)
}

/// The field that was meant by a name that differs from it in case or in what stands between the words.
pub(super) fn misspelt(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let name = plain(name);
    known.iter().copied().find(|known| plain(known) == name)
}

fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_tables_is_found_and_once_only() {
        for (of, table) in [
            ("", TOP),
            ("deadLetterQueue", OF_QUEUE),
            ("retryPolicy", OF_RETRY),
        ] {
            let mut seen = std::collections::BTreeSet::new();
            for (names, words) in table {
                for name in *names {
                    assert!(seen.insert(*name), "{name} is there twice");
                    assert_eq!(instead(of, &name.to_uppercase()), Some(*words), "{name}");
                }
            }
        }
        assert_eq!(instead("", "name"), None);
        assert_eq!(instead("", "überall"), None);
    }
}
