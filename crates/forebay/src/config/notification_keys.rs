//! The keys of a source of type `genesys-notifications`, in words. A test holds them to what the parser takes.

use connectors::OptionDoc;

const fn key(
    key: &'static str,
    value: &'static str,
    default: &'static str,
    limit: &'static str,
    effect: &'static str,
) -> OptionDoc {
    OptionDoc {
        key,
        value,
        default,
        limit,
        effect,
    }
}

/// All of them.
#[rustfmt::skip]
pub(super) const NOTIFICATION_KEYS: &[OptionDoc] = &[
    key("region", "string", "", "`mypurecloud.de` or `eu-central-1`; the others are told by `forebay check`",
        "The region of the organisation: the domain that one logs in at, or Amazon's name for it."),
    key("endpoint", "string", "", "instead of `region`; https://, or http:// on this machine",
        "One address that stands for all hosts of a region: a gateway of one's own, or a stand-in for tests."),
    key("client_id", "string", "", "required",
        "The id of an OAuth client for client credentials. All sources with the same one share its token and its 300 requests a minute; nobody else should use it."),
    key("client_secret", "string", "", "required, or `client_secret_file`", "Its secret."),
    key("client_secret_file", "string", "", "", "A file with the secret, read at start."),
    key("proxy", "string", "", "`http://user:password@host:port`",
        "A proxy that is asked to CONNECT, for the API and for sockets."),
    key("topics", "list of strings", "", "required; at most 10,000 entries",
        "What is listened to: `v2.users.ID.presence`. Topics of one resource are combined, and past 1,000 there are several channels."),
    key("max_body", "size", "\"1MiB\"", "1 byte to 64MiB",
        "The largest event. A larger one is not taken, and is written down as a gap."),
    key("dedup_window", "duration", "\"2m\"", "at most 1h",
        "How long the same topic with the same body is the same event: while one socket takes over from another both say it."),
    key("buffer", "size", "\"16MiB\"", "64KiB to 1GiB",
        "How much may be heard and not stored yet. When it is full the sockets are not read."),
    key("backfill", "boolean", "", "",
        "Whether gaps are filled from the analytics. Without it: if a topic is about conversations."),
    key("divisions", "list of strings", "", "", "Backfills ask for conversations of these divisions only. All unless set."),
    key("backfill_filters", "table", "", "`conversationFilters`, `segmentFilters` and others, as the API takes them",
        "Goes into the query of backfills as it is."),
];
