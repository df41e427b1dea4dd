//! Asking sentinels where the server is.
//!
//! As their protocol has it for clients: each sentinel is asked in turn, the first that knows the name is believed, and
//! the server itself must say that it is a master before anything is sent to it.

use domain::Unavailable;
use redis::Value;

use super::connect::{Session, Way, log_in, within};
use super::error;
use super::options::Config;
use super::url::{Login, Place};

const PORT: u16 = 26379;

/// Where the master called `name` is now.
///
/// # Errors
/// No sentinel can be asked, or none knows the name.
pub(super) async fn master(
    way: &Way,
    config: &Config,
    name: &str,
    login: Option<&Login>,
) -> Result<Place, Unavailable> {
    let mut shown = None;
    for place in way.url.places(PORT) {
        let asked = ask(way, config, place.clone(), name, login);
        match within(config.connect_timeout, &place, asked).await {
            Ok(Ok(master)) => return Ok(master),
            Ok(Err(why)) | Err(why) => shown = Some(error::more_telling(shown, why)),
        }
    }
    Err(shown.unwrap_or_else(|| Unavailable::new("configuration", "url: names no sentinel")))
}

async fn ask(
    way: &Way,
    config: &Config,
    place: Place,
    name: &str,
    login: Option<&Login>,
) -> Result<Place, Unavailable> {
    let said = |why: &str| {
        Unavailable::new(
            "redis sentinel",
            format!("the sentinel {place} {why}: look at `sentinel` and at `url`"),
        )
    };
    let session = way.raw(place.clone()).await?;
    log_in(&session, login, &config.target)
        .await
        .map_err(|why| match error::is_an_answer(&why) {
            true => said("does not let us log in"),
            false => why,
        })?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("get-master-addr-by-name").arg(name);
    match session.send(&question).await? {
        Ok(Value::Array(parts)) => parse(&parts).ok_or_else(|| said("gave no address")),
        Ok(_) => Err(said("knows no master of that name")),
        Err(_) => Err(said("would not say where the master is, or is none")),
    }
}

fn parse(parts: &[Value]) -> Option<Place> {
    let [Value::BulkString(host), Value::BulkString(port)] = parts else {
        return None;
    };
    let host = std::str::from_utf8(host).ok()?.to_owned();
    let port = std::str::from_utf8(port).ok()?.parse().ok()?;
    Some(Place { host, port })
}

/// Makes sure that the server is a master: sentinels may be a moment behind. A user who may not ask is not kept out.
///
/// # Errors
/// It is none.
pub(super) async fn confirm(session: &Session, config: &Config) -> Result<(), Unavailable> {
    let Ok(answer) = session.ask(config.timeout, &redis::cmd("ROLE")).await? else {
        return Ok(());
    };
    let role = match &answer {
        Value::Array(parts) => parts.first(),
        _ => None,
    };
    match role {
        Some(Value::BulkString(role)) if role != b"master" => Err(Unavailable::new(
            "redis READONLY",
            format!(
                "{} was named by a sentinel and is no master: a failover is under way",
                session.place
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_two_texts() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let place = parse(&[text("::1"), text("6379")]).unwrap();
        assert_eq!(place.to_string(), "[::1]:6379");
        assert_eq!(parse(&[text("h")]), None);
        assert_eq!(parse(&[text("h"), text("x")]), None);
        assert_eq!(parse(&[text("h"), Value::Nil]), None);
    }
}
