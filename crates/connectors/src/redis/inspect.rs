//! What is set up weaker at the server than Forebay promises, and how to mend it.
//!
//! What Redis answers is in its memory. That it is on its disk as well takes settings which are not the usual ones, and
//! that it is on a second machine takes waiting for it.

use std::collections::BTreeMap;

use domain::Unavailable;
use domain::ports::Finding;
use redis::Value;

use super::connect::Session;
use super::options::Config;
use super::write::setting;

/// The settings that the promise hangs on.
const SETTINGS: [&str; 4] = [
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "maxmemory-policy",
];

/// What the server tells of itself.
#[derive(Debug, Default)]
struct Facts {
    /// By `CONFIG GET`. Empty if that is not allowed.
    settings: BTreeMap<&'static str, String>,
    /// By `INFO`. Empty if that is not allowed.
    info: BTreeMap<String, String>,
    /// The key has a time to live.
    expires: bool,
}

/// What is weaker than promised.
pub(super) async fn findings(
    session: &Session,
    config: &Config,
) -> Result<Vec<Finding>, Unavailable> {
    told(session, config, &Use::Delivering(config.wait_replicas)).await
}

/// The same for a key that is read: what others put there, and what was taken and is not let go, is as safe as the server.
pub(super) async fn of_what_is_read(
    session: &Session,
    config: &Config,
) -> Result<Vec<Finding>, Unavailable> {
    told(session, config, &Use::Reading).await
}

/// What the key is to us.
enum Use {
    /// It is written to, and waits for so many replicas.
    Delivering(u32),
    Reading,
}

impl Use {
    /// What a server that forgets loses.
    fn at_stake(&self) -> &'static str {
        match self {
            Self::Delivering(_) => "what was delivered",
            Self::Reading => "what waits to be read",
        }
    }
}

async fn told(session: &Session, config: &Config, how: &Use) -> Result<Vec<Finding>, Unavailable> {
    let facts = ask(session, config).await?;
    let mut texts = judge(&facts, config.target.key(), how);
    if !session.encrypted && !session.place.is_loopback() {
        texts.push(format!(
            "bodies and the password go to {} unencrypted, and whoever answers there is believed: write rediss:// in `url`",
            session.place
        ));
    }
    Ok(texts.into_iter().map(|text| Finding { text }).collect())
}

async fn ask(session: &Session, config: &Config) -> Result<Facts, Unavailable> {
    let mut facts = Facts::default();
    for name in SETTINGS {
        let mut question = redis::cmd("CONFIG");
        question.arg("GET").arg(name);
        let Ok(answer) = session.ask(config.timeout, &question).await? else {
            break;
        };
        if let Some(value) = setting(&answer) {
            facts.settings.insert(name, value);
        }
    }
    if let Ok(Value::BulkString(text)) = session.ask(config.timeout, &redis::cmd("INFO")).await? {
        facts.info = String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
    }
    let mut question = redis::cmd("PTTL");
    question.arg(config.target.key());
    let answer = session.ask(config.timeout, &question).await?;
    facts.expires = matches!(answer, Ok(Value::Int(left)) if left >= 0);
    Ok(facts)
}

fn judge(facts: &Facts, key: &str, how: &Use) -> Vec<String> {
    let at_stake = how.at_stake();
    let mut texts = Vec::new();
    let info = |name| facts.info.get(name).map(String::as_str);
    let set = |name| facts.settings.get(name).map(String::as_str);
    let append_only = match (set("appendonly"), info("aof_enabled")) {
        (Some(value), _) => Some(value != "no"),
        (None, told) => told.map(|told| told != "0"),
    };
    if append_only == Some(false) {
        texts.push(format!(
            "appendonly = no: {at_stake} is in the server's memory only, and a restart loses all of it since the last snapshot; set appendonly yes and appendfsync always"
        ));
    } else {
        match set("appendfsync") {
            Some("always") | None => {}
            Some("everysec") => texts.push(format!(
                "appendfsync = everysec: a crash of the server's machine loses {at_stake} of the last second or two, while a crash of the server alone loses nothing; set appendfsync always"
            )),
            Some(other) => texts.push(format!(
                "appendfsync = {other}: a crash of the server's machine loses {at_stake} of the last half minute or so; set appendfsync always"
            )),
        }
        if set("no-appendfsync-on-rewrite") == Some("yes") {
            texts.push(
                "no-appendfsync-on-rewrite = yes: while the append-only file is rewritten, nothing is synced to disk; set no-appendfsync-on-rewrite no".to_owned(),
            );
        }
    }
    match set("maxmemory-policy").or(info("maxmemory_policy")) {
        Some("noeviction") | None => {}
        Some(policy) if policy.starts_with("volatile") => texts.push(format!(
            "maxmemory-policy = {policy}: a full server throws {key} away as a whole, should it ever be given a time to live; set maxmemory-policy noeviction"
        )),
        Some(policy) => texts.push(format!(
            "maxmemory-policy = {policy}: a full server throws keys away, and {key} as a whole may be one of them; set maxmemory-policy noeviction"
        )),
    }
    let unknown: Vec<&str> = SETTINGS
        .into_iter()
        .filter(|name| set(name).is_none())
        .collect();
    if !unknown.is_empty() {
        texts.push(format!(
            "the server does not say what {} is (CONFIG GET is not allowed to the user, or not there): allow it with ACL SETUSER its name +config|get, or make sure of appendonly yes, appendfsync always, no-appendfsync-on-rewrite no and maxmemory-policy noeviction yourself",
            unknown.join(", ")
        ));
    }
    if facts.expires {
        texts.push(format!(
            "{key} has a time to live, and goes with everything in it when that is over; PERSIST {key}"
        ));
    }
    if let Use::Delivering(wait_replicas) = how {
        replication(&info, *wait_replicas, &mut texts);
    }
    texts
}

fn replication<'f>(
    info: &impl Fn(&'static str) -> Option<&'f str>,
    wait_replicas: u32,
    texts: &mut Vec<String>,
) {
    if info("role") == Some("slave") {
        texts.push(
            "the server is a replica that takes writes (replica-read-only no): what is delivered there is thrown away when it next copies its master; write the master's address into `url`".to_owned(),
        );
        return;
    }
    let replicas: u32 = info("connected_slaves")
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    if wait_replicas > replicas && info("connected_slaves").is_some() {
        texts.push(format!(
            "wait_replicas = {wait_replicas} and {replicas} replicas are connected: nothing can be delivered until there are enough"
        ));
    }
    if wait_replicas == 0 && replicas > 0 {
        texts.push(
            "the server has replicas, which get what was delivered a moment after it was confirmed: a failover to one loses that moment; set wait_replicas = 1".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(settings: &[(&'static str, &str)], info: &[(&str, &str)]) -> Facts {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Facts {
            settings: settings
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            info: info.iter().map(text).collect(),
            expires: false,
        }
    }

    const GOOD: [(&str, &str); 4] = [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("no-appendfsync-on-rewrite", "no"),
        ("maxmemory-policy", "noeviction"),
    ];

    fn with(name: &'static str, value: &'static str) -> Vec<String> {
        let mut settings = GOOD;
        for one in &mut settings {
            if one.0 == name {
                one.1 = value;
            }
        }
        judge(&facts(&settings, &[]), "queue", &Use::Delivering(0))
    }

    #[test]
    fn each_setting_that_is_weaker_is_named_with_its_remedy() {
        assert_eq!(
            judge(&facts(&GOOD, &[]), "queue", &Use::Delivering(0)),
            Vec::<String>::new()
        );
        for (name, value, words) in [
            ("appendonly", "no", "set appendonly yes"),
            ("appendfsync", "everysec", "of the last second or two"),
            ("appendfsync", "no", "half minute"),
            ("no-appendfsync-on-rewrite", "yes", "rewrite no"),
            ("maxmemory-policy", "allkeys-lru", "queue as a whole"),
            ("maxmemory-policy", "volatile-ttl", "time to live"),
        ] {
            let texts = with(name, value);
            assert_eq!(texts.len(), 1, "{texts:?}");
            assert!(texts[0].contains(words), "{texts:?}");
            assert!(texts[0].starts_with(name), "{texts:?}");
        }
    }

    #[test]
    fn of_a_key_that_is_read_what_waits_there_is_at_stake_and_replicas_are_not_asked_for() {
        let mut settings = GOOD;
        settings[0].1 = "no";
        let info = [("role", "master"), ("connected_slaves", "1")];
        let texts = judge(&facts(&settings, &info), "queue", &Use::Reading);
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("what waits to be read"), "{texts:?}");
    }

    #[test]
    fn what_cannot_be_asked_is_said_and_info_fills_in() {
        let texts = judge(&facts(&[], &[]), "queue", &Use::Delivering(0));
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("+config|get"), "{texts:?}");
        let info = [("aof_enabled", "0"), ("maxmemory_policy", "allkeys-random")];
        let texts = judge(&facts(&[], &info), "queue", &Use::Delivering(0));
        assert_eq!(texts.len(), 3, "{texts:?}");
    }

    #[test]
    fn replicas_are_worth_waiting_for() {
        let count = |role, replicas, wait_replicas| {
            let info = [("role", role), ("connected_slaves", replicas)];
            let texts = judge(
                &facts(&GOOD, &info),
                "queue",
                &Use::Delivering(wait_replicas),
            );
            texts.join("\n")
        };
        assert_eq!(count("master", "0", 0), "");
        assert_eq!(count("master", "2", 1), "");
        assert!(count("master", "1", 0).contains("set wait_replicas = 1"));
        assert!(count("master", "1", 2).contains("1 replicas are connected"));
        assert!(count("slave", "0", 0).contains("thrown away"));
    }

    #[test]
    fn a_key_that_goes_by_itself_is_named() {
        let mut facts = facts(&GOOD, &[]);
        facts.expires = true;
        let texts = judge(&facts, "queue", &Use::Delivering(0));
        assert!(texts[0].contains("PERSIST queue"), "{texts:?}");
    }
}
