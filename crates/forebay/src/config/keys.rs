//! Every section with its keys, in words: for the reference, and for what is said of a value that does not fit.
//!
//! A section's defaults are not here: they are taken from the code. `taken` and `refused` hold the limits to it.

/// A key of a section.
pub(super) struct Key {
    pub name: &'static str,
    /// What kind of value.
    pub value: &'static str,
    /// What is allowed; empty when anything goes.
    pub limit: &'static str,
    /// What it does.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reference"))]
    pub effect: &'static str,
    /// Values, as written in TOML, that are at the limit's edge and allowed.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reference's tests"))]
    pub taken: &'static [&'static str],
    /// Values just past it.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reference's tests"))]
    pub refused: &'static [&'static str],
}

/// A section, or a table within one.
pub(super) struct Section {
    /// As it is written in the file.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reference"))]
    pub title: &'static str,
    /// Where it stands in the sample that the tests use; the second part is a name of the operator's, where that is
    /// what stands there.
    pub at: &'static [&'static str],
    /// What it is for.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reference"))]
    pub about: &'static str,
    pub keys: &'static [Key],
}

const fn key(
    name: &'static str,
    value: &'static str,
    limit: &'static str,
    effect: &'static str,
) -> Key {
    Key {
        name,
        value,
        limit,
        effect,
        taken: &[],
        refused: &[],
    }
}

impl Key {
    const fn edges(self, taken: &'static [&'static str], refused: &'static [&'static str]) -> Self {
        Self {
            taken,
            refused,
            ..self
        }
    }
}

#[rustfmt::skip]
pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "[server]",
        at: &["server"],
        about: "Both listeners, the data directory, and how the server stops.",
        keys: &[
            key("listen", "string", "address and port",
                "Where events are posted. `/healthz` and `/readyz` answer here as well. Off loopback every source must say `verify`.")
                .edges(&["\"[::1]:0\""], &["\"8080\"", "\"localhost:8080\""]),
            key("admin", "string", "address and port; off loopback only with a token",
                "Where the admin API and `/metrics` are.")
                .edges(&["\"127.0.0.1:0\""], &["\"0.0.0.0:8081\"", "\"8081\""]),
            key("admin_token", "secret string", "visible ASCII without spaces; not with `admin_token_file`",
                "The bearer token that the admin listener asks for, except at `/healthz` and `/readyz`.")
                .edges(&[], &["\"\""]),
            key("admin_token_file", "path", "not with `admin_token`",
                "A file with the token, read again on SIGHUP.")
                .edges(&[], &["\"/nowhere/at/all\""]),
            key("data_dir", "path", "a local file system",
                "Where journal and state live. Made if it is not there, for its owner alone."),
            key("ack_timeout", "duration", "longer than 0s",
                "How long a request may wait for its event to be durable. After that it is told 503, and the event is withdrawn if it is not being written yet. Keep it below the sender's own timeout.")
                .edges(&["\"1ms\""], &["\"0s\""]),
            key("shutdown_delay", "duration", "",
                "How long after SIGTERM `/readyz` says no while events are still accepted: time for a load balancer to notice.")
                .edges(&["\"0s\""], &["\"soon\""]),
            key("shutdown_timeout", "duration", "longer than 0s",
                "How long stopping may take after that, all parts together.")
                .edges(&["\"1ms\""], &["\"0s\""]),
            key("limits", "table", "", "See `[server.limits]`."),
            key("tls", "table", "", "See `[server.tls]`. Without it the ingest listener speaks plain HTTP."),
            key("trusted_proxies", "list of networks", "",
                "Networks or addresses of proxies in front of the ingest listener, as in `[\"10.0.0.0/8\"]`. Only they are believed, in what `proxy_protocol` and `forwarded_header` are about.")
                .edges(&["[\"192.0.2.7\", \"fd00::/8\"]"], &["[\"10.0.0.0/33\"]", "[\"localhost\"]"]),
            key("proxy_protocol", "boolean", "not without `trusted_proxies`",
                "Whether each connection from `trusted_proxies` begins with a header of the PROXY protocol, version 1 or 2, ahead of TLS. Connections from them without it are closed; of others none is read.")
                .edges(&[], &["true"]),
            key("forwarded_header", "string", "`\"x-forwarded-for\"`, `\"forwarded\"`, `\"none\"`",
                "The header in which `trusted_proxies` name the sender of a request: the rightmost address in it that is none of theirs. Say the one that your proxy sets; it passes the other on as the sender wrote it.")
                .edges(&["\"forwarded\"", "\"none\""], &["\"x-real-ip\""]),
        ],
    },
    Section {
        title: "[server.tls]",
        at: &["server", "tls"],
        about: "TLS of the ingest listener, with HTTP/2 and HTTP/1.1 by ALPN. The files are read again on SIGHUP, and within ten seconds of a change; files that cannot be used are logged, and change nothing. Connections that there are go on as they are.",
        keys: &[
            key("cert_file", "path", "PEM; with `key_file`, or neither and `[server.tls.acme]`",
                "The certificate, followed by those between it and a root.")
                .edges(&[], &["\"/nowhere/at/all\""]),
            key("key_file", "path", "PEM, without a passphrase",
                "Its private key.")
                .edges(&[], &["\"/nowhere/at/all\""]),
            key("min_version", "string", "`\"1.2\"`, `\"1.3\"`",
                "The oldest version of TLS that is spoken.")
                .edges(&["\"1.3\""], &["\"1.1\""]),
            key("client_ca_file", "path", "PEM; not without `client_auth`",
                "The authorities that the certificates of clients must come from. Revocation is not looked at.")
                .edges(&[], &["\"/nowhere/at/all\""]),
            key("client_auth", "string", "`\"none\"`, `\"optional\"`, `\"required\"`; not without `client_ca_file`",
                "Whether clients are asked for a certificate. A bad one is refused in the handshake; with `\"required\"` so is none. What a certificate lets through is a source's to say: `verify = { scheme = \"mtls\", … }`.")
                .edges(&[], &["\"optional\"", "\"required\"", "\"maybe\""]),
            key("acme", "table", "", "See `[server.tls.acme]`."),
        ],
    },
    Section {
        title: "[server.tls.acme]",
        at: &["server", "tls", "acme"],
        about: "A certificate that Forebay fetches, and renews after two thirds of its time: ACME. The authority connects to port 443 of each domain, where the ingest listener answers its challenge (TLS-ALPN-01), or to port 80 (HTTP-01). Account, certificate and key are in `data_dir`, below `acme`. What fails is logged, and tried again after two minutes and ever more rarely, on SIGHUP at once. Until the first certificate is there no handshake succeeds.",
        keys: &[
            key("domains", "list of strings", "names in small letters, no wildcards; not with `cert_file`",
                "What the certificate is for. None: no certificate is fetched.")
                .edges(&[], &["[\"hooks.example.com\"]", "[\"*.example.com\"]"]),
            key("accept_terms", "boolean", "`true` where there are `domains`",
                "That you accept the authority's terms of service.")
                .edges(&["true"], &["\"yes\""]),
            key("email", "string", "",
                "Where the authority may write to.")
                .edges(&["\"ops@example.com\""], &["\"ops\""]),
            key("directory", "string", "an https URL",
                "The authority. Try with `https://acme-staging-v02.api.letsencrypt.org/directory` first: it does not mind failures.")
                .edges(&["\"https://ca.internal/acme/directory\""], &["\"http://ca.internal/directory\""]),
            key("directory_ca_file", "path", "PEM",
                "Whom to trust to be that authority. Default: the machine's authorities."),
            key("challenge", "string", "`\"tls-alpn-01\"`, `\"http-01\"`",
                "How the authority is shown that the domains are yours. `tls-alpn-01` needs no other port than that of ingest; `http-01` is for where a proxy has port 443.")
                .edges(&["\"http-01\""], &["\"dns-01\""]),
            key("http_listen", "string", "an address and a port",
                "Where `http-01` is answered: what port 80 of each domain leads to. Nothing listens there otherwise. It answers challenges of an order under way; all else is refused (400 `https-expected`). `trusted_proxies` and `proxy_protocol` hold here as well.")
                .edges(&["\"127.0.0.1:8082\"", "\"[::]:80\""], &["\"80\"", "\"everywhere\""]),
        ],
    },
    Section {
        title: "[server.limits]",
        at: &["server", "limits"],
        about: "Limits of the ingest listener. They hold before any work is done for a request.",
        keys: &[
            key("max_connections", "integer", "at least 1",
                "Connections at once. One more is told 503 and closed.").edges(&["1"], &["0"]),
            key("max_connections_per_address", "integer", "at least 1",
                "Connections of one address at once; of IPv6 a /64 is one address. One more is told 503 and closed. Behind a proxy every connection is the proxy's, unless `proxy_protocol` says whose it is; those of `trusted_proxies` themselves are not counted.").edges(&["1"], &["0"]),
            key("header_timeout", "duration", "longer than 0s",
                "How long a client may take to send a request's headers, and may stay idle between two requests.")
                .edges(&["\"1ms\""], &["\"0s\""]),
            key("body_timeout", "duration", "longer than 0s",
                "How long a client may take to send a body. A slower one is told 408.")
                .edges(&["\"1ms\""], &["\"0s\""]),
            key("min_body_rate", "size", "",
                "How much of a body must come each second once ten seconds have passed: one of which less than so much for each second after them has come is told 408 before `body_timeout`. `0`: as slow as it likes.")
                .edges(&["\"0\""], &["\"some\""]),
            key("max_header_bytes", "size", "8KiB to 256KiB",
                "All headers of a request together. More is told 431.")
                .edges(&["\"8KiB\"", "\"256KiB\""], &["\"8191\"", "\"262145\""]),
            key("max_in_flight_bytes", "size", "at least 1MiB, and 8 times `max_header_bytes`; the largest `max_body` and its headers must fit into three quarters of it",
                "Heads and bodies in memory over all requests; a quarter of it is for what connections have half read, where one of HTTP/2 counts as 16 KiB at least. A request that would go over it is told 503. No source takes more than is left for the others, unless one request alone needs it: where there are several, give it twice the largest `max_body` or more. Of what is half read the same is true of addresses.")
                .edges(&["\"1MiB\""], &["\"1048575\""]),
            key("max_streams", "integer", "at least 1",
                "Requests at once on one HTTP/2 connection.").edges(&["1"], &["0"]),
            key("dedup_keys", "integer", "at least 1",
                "How many of the newest deduplication keys are remembered, over all sources. Each takes 40 bytes of memory. Those that the journal still holds are back after a restart.")
                .edges(&["1"], &["0"]),
        ],
    },
    Section {
        title: "[log]",
        at: &["log"],
        about: "What goes to standard error. No payload and no secret does.",
        keys: &[
            key("level", "string", "`error`, `warn`, `info`, `debug`, `trace`, or directives as `info,ingest=debug`; Forebay's own parts only",
                "How much is logged; errors always are. At `debug` every refused request is a line. What libraries say is never logged.")
                .edges(&["\"trace\"", "\"info,ingest=debug\""], &["\"loud=very\"", "\"h2=trace\""]),
            key("format", "string", "`text` or `json`", "Lines for people, or one JSON object a line.")
                .edges(&["\"json\""], &["\"xml\""]),
        ],
    },
    Section {
        title: "[journal]",
        at: &["journal"],
        about: "The log on disk that every event is in before it is acknowledged.",
        keys: &[
            key("type", "string", "`embedded`", "Which journal: files in `data_dir/journal`.")
                .edges(&["\"embedded\""], &["\"redis\""]),
            key("segment_bytes", "size", "1MiB to 2GiB; the largest `max_body` and its headers must fit",
                "The size of one file. Space is given back a file at a time.")
                .edges(&["\"1MiB\"", "\"2GiB\""], &["\"1048575\"", "\"2147483649\""]),
            key("max_bytes", "size", "at least three times `segment_bytes`",
                "The most disk that the journal takes. What is not settled is never evicted for it: when nothing settled is left, new events are refused with 503.")
                .edges(&["\"192MiB\""], &["\"191MiB\""]),
            key("min_free", "size", "",
                "Disk kept free for state. Below it the journal makes no new file.")
                .edges(&["\"0\""], &["\"some\""]),
            key("retain", "duration", "",
                "How long settled events are kept for looking back, while there is room.")
                .edges(&["\"0s\""], &["\"a day\""]),
            key("memory", "size", "",
                "Recent events kept in memory, so that routes that keep up never read the disk.")
                .edges(&["\"0\""], &["\"some\""]),
        ],
    },
    Section {
        title: "[state]",
        at: &["state"],
        about: "What waits outside the journal: parked events and dead letters, in `state.db` in the data directory.",
        keys: &[
            key("max_bytes", "size", "at least 16MiB",
                "How large it may grow. At it, burying and parking wait, and the events stay in the journal; progress, redrives and purges go on.")
                .edges(&["\"16MiB\""], &["\"16777215\""]),
            key("min_free", "size", "",
                "What it leaves free on the disk when it buries and parks, so that settling always succeeds. Keep it below `journal.min_free`, so that the journal stops first.")
                .edges(&["\"0\""], &["\"some\""]),
        ],
    },
    Section {
        title: "[dispatch]",
        at: &["dispatch"],
        about: "How much is read ahead, and how often progress is written down.",
        keys: &[
            key("window_events", "integer", "1 to 1000000",
                "The most events that a route has read and not settled.").edges(&["1", "1000000"], &["0", "1000001"]),
            key("window_bytes", "size", "at least 1MiB",
                "The most memory for events read and not settled, all routes together. Each route has an equal share, and at least one event.")
                .edges(&["\"1MiB\""], &["\"1048575\""]),
            key("settle_interval", "duration", "1ms to 10s",
                "How often progress is committed while nothing more urgent is. After a crash at most so much is delivered a second time.")
                .edges(&["\"1ms\"", "\"10s\""], &["\"999us\"", "\"10s 1ms\""]),
        ],
    },
    Section {
        title: "[sources.NAME]",
        at: &["sources", "in"],
        about: "Where events come in. With `type = \"http\"`: `POST /in/NAME`, and the source's own paths; see [sources](sources.md). The other types, below, are read and not posted to.",
        keys: &[
            key("type", "string", "`http`", "What kind of source.").edges(&["\"http\""], &["\"sqs\""]),
            key("paths", "list of strings", "start with `/`; no `?`, `#` or blank; no two sources share one",
                "Paths it answers on, besides `/in/NAME`, which always works.")
                .edges(&["[\"/webhook/gc\"]"], &["[\"webhook\"]", "[\"/a?b\"]", "[\"/healthz\"]"]),
            key("handshake", "string", "`asana`, `monday`, `ringcentral`, `trello`, `x` (with scheme `hmac` that signs the body alone)",
                "A challenge of the sender that is answered where the scheme knows of none, and is not stored. With `x` the body has to be JSON.")
                .edges(&["\"asana\""], &["\"nobody\"", "\"x\""]),
            key("retry_window", "duration", "",
                "From the sender's first try to its last. While events are refused, log, `status` and metrics say from when on they are lost. Default: what is known of the scheme's sender."),
            key("public_url", "string", "http:// or https://, no query; required for schemes that sign the URL",
                "The source's address as its sender has it. With a path it stands for the whole of it; without one the request's own path is put behind it.")
                .edges(&["\"https://hooks.example.com\"", "\"https://h/a/b\""], &["\"hooks.example.com\"", "\"https://h/?a\"", "\"https://u@h\""]),
            key("verify", "table", "`{ scheme = \"github\", secrets = [\"…\"] }`; required unless `server.listen` is on loopback",
                "How requests prove where they come from: `scheme` and what the scheme needs, see below. Without it, on loopback, everything is taken."),
            key("allow_from", "list of strings", "at least one; addresses and networks, as `203.0.113.7`, `10.0.0.0/8`, `2001:db8::/32`",
                "Where requests may come from. From elsewhere they are told 403 before anything else. The address is that of the connection; behind `server.trusted_proxies`, the one that they tell. Anywhere unless set.")
                .edges(&["[\"203.0.113.7\", \"10.0.0.0/8\", \"2001:db8::/32\"]"], &["[]", "[\"example.com\"]", "[\"10.1.2.3/8\"]"]),
            key("rate_limit", "table", "`{ per_second = 100, burst = 200 }`; both 1 to 1000000",
                "How many requests a second are taken in the long run, and how many (`burst`; without it as `per_second`) at once after a pause. One more is told 429 with `Retry-After`, mostly before its body is read. Only requests that are verified count, and those that find a place in quarantine: who cannot sign uses up nothing else. No limit unless set.")
                .edges(&["{ per_second = 1 }", "{ per_second = 1000000, burst = 1 }"], &["{ per_second = 0 }", "{ per_second = 1, burst = 0 }", "{ burst = 1 }", "{ per_second = 1000001 }"]),
            key("max_body", "size", "at least 1 byte; with its headers it must fit into `journal.segment_bytes`, and into three quarters of `server.limits.max_in_flight_bytes`",
                "The largest body. A larger one is told 413 and never truncated.")
                .edges(&["\"1\"", "\"47MiB\""], &["\"0\"", "\"48MiB\""]),
            key("on_invalid", "string", "`refuse` or `quarantine`; `quarantine` needs `verify`, and a scheme other than `none` and `mtls`",
                "What becomes of a request that is not verified: it is told 401, or it is kept apart and told 200, to be verified again once a secret is mended; see [sources](sources.md#requests-that-do-not-verify).")
                .edges(&["\"refuse\""], &["\"keep\"", "true"]),
            key("quarantine_max", "integer", "at least 1",
                "The most requests of the source in quarantine. Further ones are told 401.")
                .edges(&["1"], &["0"]),
            key("quarantine_max_bytes", "size", "at least 1MiB",
                "The most bytes of them, headers included. Those of all sources together may be at most half of `state.max_bytes`, so that routes have the rest.")
                .edges(&["\"1MiB\""], &["\"1048575\""]),
            key("quarantine_keep", "duration", "at least 1s",
                "How long a request stays in quarantine. Then it is discarded, with a line in the log, and counted in `forebay_quarantine_expired_total`.")
                .edges(&["\"1s\"", "\"90d\""], &["\"0s\"", "\"999ms\""]),
            key("require_json", "boolean", "", "Whether a body that is not JSON is told 400.").edges(&["true"], &["1"]),
            key("split", "string", "a JSON pointer to an array, `\"\"` for the whole body, `\"lines\"`, or `\"scheme\"` where the scheme's sender sends several events a body",
                "Makes each item of a body an event of its own, with an id and a deduplication key of its own. The answer is 200 only when all are durable; one bad item refuses the request whole. At most 10000 items.")
                .edges(&["\"\"", "\"/a/b\"", "\"lines\""], &["\"entries\"", "\"scheme\""]),
            key("unwrap", "string", "`\"eventbridge\"`; not with `split`",
                "Takes the event out of the envelope that it comes in: the body is `detail`, the type `detail-type`, and the envelope's `id` is what makes a repeat. What is no such envelope stays as it is.")
                .edges(&["\"eventbridge\""], &["\"nobody\""]),
            key("dedup", "string or table", "`\"scheme\"`, `\"off\"`, `{ header = \"x-id\" }`, `{ pointer = \"/id\" }`",
                "What makes a repeat a repeat. `scheme`: what the verification scheme knows of the sender. A repeat is answered 200 with the first one's id and is not stored again.")
                .edges(&["\"off\"", "{ header = \"x-id\" }", "{ pointer = \"/id\" }"], &["\"on\"", "{ pointer = \"id\" }"]),
            key("respond", "table", "`{ status = 204 }`", "The answer to an accepted event, for senders that want another one than Forebay's own. See below."),
        ],
    },
    Section {
        title: "respond = { … }",
        at: &["sources", "in", "respond"],
        about: "An answer of your own to accepted events and repeats. Refusals stay as they are.",
        keys: &[
            key("status", "integer", "200 to 299", "The status. Any other would ask the sender to try again or to give up.")
                .edges(&["200", "299"], &["199", "300"]),
            key("content_type", "string", "what a header can hold", "The content type.")
                .edges(&["\"text/xml\""], &["\"a\\nb\""]),
            key("body", "string", "", "The body."),
        ],
    },
    Section {
        title: "[routes.NAME]",
        at: &["routes", "r"],
        about: "Takes events of one or more sources to one destination. Each route has its own place in the journal, so routes never wait for each other.",
        keys: &[
            key("from", "list of strings", "sources; every source must be on some route, unless subscriptions are enabled", "The sources."),
            key("to", "string", "a destination", "The destination.").edges(&["\"db\""], &["\"nowhere\""]),
            key("when", "string", "an expression of [CEL](https://github.com/google/cel-spec) that is true or false",
                "Which events of its sources the route wants, by `source`, `type`, `method`, `path`, `headers` and `body`, see [sources](sources.md#which-events-a-route-wants). The others count as discarded on it. Default: all.")
                .edges(&["\"true\"", "\"type == 'order.paid' && body.amount > 10\""], &["\"\"", "\"typo == 'a'\"", "\"1 + 1\""]),
            key("order", "string or table", "`none`, `strict`, or `{ key = \"/conversationId\" }`, a JSON pointer into the body",
                "The order of delivery. `none`: as fast as it goes; an event that failed does not hold up the others. By key: events with the same value go one after the other, and what comes behind one that waits for a retry is held. `strict`: all of them do.")
                .edges(&["\"none\"", "\"strict\"", "{ key = \"/a\" }"], &["\"fifo\"", "{ key = \"a\" }"]),
            key("start", "string", "`now`, `oldest`, or a time as `2026-01-31T12:00:00Z`",
                "Where a route begins that is new. Without it: `oldest` on a fresh data directory, else `now`. It has no effect on a route that has run before, nor after a lost state: then every event that the journal holds is delivered again.")
                .edges(&["\"now\"", "\"oldest\"", "\"2026-01-31T12:00:00Z\""], &["\"yesterday\""]),
            key("retry", "table", "`{ max_retries = 3, retry_interval = \"10s\" }`", "When and how often one event that failed is tried again. See below."),
            key("on_outage", "string or table", "`hold`, `retry`, or `{ dead_letter_after = \"15m\", redrive_on_recovery = true }`; the last not with an order",
                "What the route does while its destination is not there. `hold`: wait for ever, spending no attempt; it looks again after 1 s, then after twice as long each time, up to 30 s. `retry`: spend attempts as for any failure. `dead_letter_after`: hold, but what has waited so long while the destination was away becomes a dead letter; with `redrive_on_recovery` that comes back by itself once the destination does, ten a second at first, then doubling as long as the destination keeps up and live events do not wait.")
                .edges(&["\"hold\"", "\"retry\"", "{ dead_letter_after = \"1s\" }", "{ dead_letter_after = \"1s\", redrive_on_recovery = true }"], &["\"wait\"", "{ dead_letter_after = \"0s\" }"]),
            key("breaker", "table", "`{ run = 20 }`", "When answers are taken for an outage. See below."),
            key("dead_letter", "table", "`{ to = [\"letters\"] }`", "Where dead letters go, and how long they are kept. See below."),
            key("parked_max", "integer", "at least 1",
                "Events that wait for a retry or behind one. At so many the route reads no further, and `status` says so while it lasts. What it has read by then may still be parked: at most `dispatch.window_events` more.")
                .edges(&["1"], &["0"]),
            key("max_backlog", "integer", "at least 1",
                "Events of the route that may wait in the journal, so that a route whose destination is away does not fill it for the others. No limit unless set. Requests under way at that moment are taken, so that it may be passed by as many as there are at once; with `dead_letter` also by what comes in during the second or so between two counts.")
                .edges(&["1"], &["0"]),
            key("on_full", "string", "`refuse`, `dead_letter`; with `max_backlog`; the last not with an order",
                "What happens at `max_backlog`. `refuse`, which it is unless set: new events of its sources are told 503. `dead_letter`: the oldest become dead letters.")
                .edges(&[], &["\"drop\""]),
        ],
    },
    Section {
        title: "retry = { … }",
        at: &["routes", "r", "retry"],
        about: "Retries of a single event that the destination could not take, while the destination itself is there.",
        keys: &[
            key("max_retries", "integer", "", "Retries after the first attempt. 8 means at most nine attempts; then it is a dead letter.")
                .edges(&["0"], &["-1"]),
            key("retry_interval", "duration", "longer than 0s", "The wait before the first retry.")
                .edges(&["\"1ms\""], &["\"0s\""]),
            key("backoff", "string", "`fixed`, `linear`, `exponential`",
                "How the wait grows: not at all, by `retry_interval` each time, or doubling.")
                .edges(&["\"fixed\"", "\"linear\""], &["\"random\""]),
            key("max_interval", "duration", "not shorter than `retry_interval`", "The longest wait between two attempts.")
                .edges(&["\"10s\""], &["\"9s\""]),
            key("jitter", "number", "0 to 1", "How far a wait is spread at random, as a fraction of it. 0.2: between 80 % and 120 %.")
                .edges(&["0.0", "1.0"], &["-0.1", "1.1"]),
        ],
    },
    Section {
        title: "breaker = { … }",
        at: &["routes", "r", "breaker"],
        about: "When answers to single events are taken for an outage of the whole destination.",
        keys: &[
            key("run", "integer", "0 to 1000",
                "So many different events in a row that were answered 401, 403, 404, 3xx or 5xx, with none delivered between, are an outage: they go back to where they were, with no attempt spent. Fewer are taken one by one, and a restart forgets a run that is not over. 502, 503 and 504 are an outage at the first. 0 switches that off, and so does `on_outage = \"retry\"`.")
                .edges(&["0", "1000"], &["1001"]),
        ],
    },
    Section {
        title: "dead_letter = { … }",
        at: &["routes", "r", "dead_letter"],
        about: "Where dead letters go, and how long they are kept. Without more they stay until they are redriven or purged.",
        keys: &[
            key("to", "list of strings", "destinations, each once; not the route's own",
                "Destinations that every dead letter is delivered to, with what became of it. What one of them will not take stays, and is shown.")
                .edges(&["[]"], &["[\"db\"]", "[\"nowhere\"]"]),
            key("keep", "duration", "",
                "How long a dead letter stays after every destination in `to` confirmed it; then it is discarded, and counted so. Without `to` it has no effect.").edges(&["\"1h\""], &["\"long\""]),
            key("expire_after", "duration", "longer than 0s",
                "When a dead letter that nobody dealt with is discarded, and counted so. Never unless set.")
                .edges(&["\"1s\""], &["\"0s\""]),
        ],
    },
    Section {
        title: "[subscriptions]",
        at: &["subscriptions"],
        about: "What may be subscribed by the API, see [subscriptions](subscriptions.md). Each is a route to an HTTP endpoint that is made while Forebay runs.",
        keys: &[
            key("enabled", "boolean", "",
                "Whether there may be subscriptions. With them a source need not be on a route: it answers 503 `no-route` until something takes its events."),
            key("allow_http", "boolean", "",
                "Whether a subscription may go to plain `http://`. Else to `https://` only."),
            key("allow_private", "boolean", "",
                "Whether a subscription may go to an address that is not of the public internet: loopback, private, link-local, carrier-grade NAT, unique-local and the like. Names are looked at each time a connection is opened."),
            key("max", "integer", "1 to 10000", "The most subscriptions there may be, those that drain included.")
                .edges(&["1", "10000"], &["0", "10001"]),
            key("timeout", "duration", "100ms to 30s", "The longest that one request to a subscriber may take to its answer, connecting included. After it the attempt has failed.")
                .edges(&["\"100ms\"", "\"30s\""], &["\"99ms\"", "\"31s\""]),
        ],
    },
];
