//! What `serve` says when it runs: what it chose, and a line that proves it works. Lines for people, or one
//! entry of a log for collectors.

use std::net::SocketAddr;

use domain::SourceName;

use super::VERSION;
use super::running::Running;
use crate::config::{Config, LogFormat};

/// Says it on standard error. `subscribed` is how many subscriptions there are.
pub fn print(config: &Config, running: &Running, subscribed: usize) {
    let (listen, admin) = (running.ingest_address(), running.admin_address());
    let (file, durability) = (file(config), durability(running));
    let data_dir = config.server.data_dir.display();
    let ingest = format!("{}://{listen}", config.server.ingest_scheme());
    if config.log.format == LogFormat::Json {
        tracing::info!(
            version = VERSION,
            configuration = file,
            data_dir = %data_dir,
            durability,
            ingest,
            challenges = running.challenges_address().map(tracing::field::display),
            admin = format!("http://{admin}"),
            routes = routes(config).join("; "),
            subscriptions = subscribed,
            "started"
        );
        return;
    }
    eprintln!("Forebay {VERSION}");
    eprintln!("  configuration  {file}");
    eprintln!("  data           {data_dir} ({durability})");
    eprintln!("  ingest         {ingest}");
    if let Some(challenges) = running.challenges_address() {
        eprintln!("  challenges     http://{challenges} (certificate authorities alone)");
    }
    eprintln!("  admin          http://{admin}");
    for route in routes(config) {
        eprintln!("  route          {route}");
    }
    if config.subscriptions.enabled {
        eprintln!(
            "  subscriptions  {}",
            match subscribed {
                0 => format!("none yet: POST http://{admin}/api/v2/notifications/webhooks"),
                count => count.to_string(),
            }
        );
    }
    if let Some(command) = to_try(config, listen) {
        eprintln!("Try it:  {command}");
    }
}

fn file(config: &Config) -> String {
    let file = config.place();
    if config.built_in_route {
        file + ", with the built-in route"
    } else {
        file
    }
}

/// So many sources of a route are named at most.
const NAMED: usize = 6;

fn routes(config: &Config) -> Vec<String> {
    let routes = config.routes.iter().map(|(name, route)| {
        let from = route.from.iter().map(SourceName::as_str);
        let mut from: Vec<String> = from.map(str::to_owned).collect();
        if from.len() > NAMED {
            let more = from.split_off(NAMED - 1).len();
            from.push(format!("{more} more"));
        }
        let kind = config.destinations.get(&route.to);
        let kind = kind.map_or("", |destination| destination.port.kind());
        let letters = &route.policies.dead_letters.to;
        let letters: Vec<&str> = letters
            .iter()
            .map(domain::DestinationName::as_str)
            .collect();
        let letters = match letters.is_empty() {
            true => String::new(),
            false => format!(", dead letters to {}", letters.join(", ")),
        };
        format!(
            "{name}: {} -> {} ({kind}){letters}",
            from.join(", "),
            route.to
        )
    });
    routes.collect()
}

/// What is to be known of a source that no route takes: it is one for subscriptions.
fn unless_subscribed(config: &Config, source: &SourceName) -> &'static str {
    let mut routes = config.routes.values();
    match routes.any(|route| route.from.contains(source)) {
        true => "",
        false => "   # 503 no-route until a subscription takes it",
    }
}

/// A command that posts an event: `curl` where nothing is to be signed, else our own.
fn to_try(config: &Config, listen: SocketAddr) -> Option<String> {
    let unsigned = config.sources.iter().find(|(_, source)| {
        // One that takes bodies apart would refuse the one below.
        let verify = source.verify.as_ref();
        source.split.is_none()
            && verify.is_none_or(|verify| *verify == ingest::verify::VerifyOptions::none())
    });
    let scheme = config.server.ingest_scheme();
    let address = format!("{scheme}://{}", reachable(listen));
    if let Some((name, source)) = unsigned {
        let path = source.paths.first();
        let path = path.map_or_else(|| format!("/in/{name}"), Clone::clone);
        // Here nobody needs to know whose certificate it is.
        let trusting = if scheme == "https" { "k" } else { "" };
        return Some(format!(
            "curl -i{trusting} -d '{{\"hello\":\"world\"}}' {address}{path}{}",
            unless_subscribed(config, name)
        ));
    }
    let name = config.sources.keys().next()?;
    let mut command = "forebay send".to_owned();
    if let Some(file) = &config.file {
        command += &format!(" --config {}", file.display());
    }
    command += &format!(" --source {name}");
    // `send` looks into the file, and nowhere else.
    if config.server.listen_from_outside || config.server.listen != listen {
        command += &format!(" --url {address}");
    }
    command += unless_subscribed(config, name);
    Some(command)
}

fn durability(running: &Running) -> &'static str {
    match running.journal().durability() {
        domain::ports::Durability::Disk => "every 2xx is on disk",
        domain::ports::Durability::Replicated => "every 2xx is replicated",
        domain::ports::Durability::ProcessCrashOnly => "a 2xx survives a crash of the process only",
    }
}

/// An address a client on this machine can use.
fn reachable(listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        format!("localhost:{}", listen.port())
    } else {
        listen.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Flags, parse};

    const SIGNED: &str = r#"
        [server]
        listen = "127.0.0.1:9000"
        [sources.a]
        type = "http"
        verify = { scheme = "bearer", secrets = ["a-secret"] }
        [destinations.db]
        type = "sqlite"
        [routes.r]
        from = ["a"]
        to = "db"
    "#;

    fn told(text: &str, flag: Option<&str>, variable: Option<&str>, bound: &str) -> String {
        let flags = Flags {
            listen: flag.map(Into::into),
            ..Flags::default()
        };
        let environment = |name: &str| {
            let variable = variable.filter(|_| name == "FOREBAY_SERVER_LISTEN");
            variable.map(Into::into)
        };
        let config = parse(Some(Path::new("f.toml")), text, &flags, &environment);
        to_try(&config.unwrap(), bound.parse().unwrap()).unwrap()
    }

    #[test]
    fn send_is_told_where_to_post_wherever_the_file_does_not_say_it() {
        let plain = "forebay send --config f.toml --source a";
        let (file, other) = ("127.0.0.1:9000", "0.0.0.0:9100");
        assert_eq!(told(SIGNED, None, None, file), plain);
        let elsewhere = format!("{plain} --url http://localhost:9100");
        assert_eq!(told(SIGNED, Some(other), None, other), elsewhere);
        assert_eq!(told(SIGNED, None, Some(other), other), elsewhere);
        // Any free port.
        let any = SIGNED.replace("9000", "0");
        let found = told(&any, None, None, "127.0.0.1:4711");
        assert_eq!(found, format!("{plain} --url http://127.0.0.1:4711"));
    }

    #[test]
    fn a_route_is_named_with_its_dead_letter_targets_and_a_source_without_a_route_as_such() {
        let with_target = SIGNED.to_owned()
            + "dead_letter = { to = [\"ops\"] }\n[destinations.ops]\ntype = \"file\"\npath = \"out\"\n";
        let environment = |_: &str| None;
        let config = parse(None, &with_target, &Flags::default(), &environment).unwrap();
        assert_eq!(
            routes(&config),
            ["r: a -> db (sqlite), dead letters to ops"]
        );
        let only_subscriptions = "[subscriptions]\nenabled = true\n[sources.shop]\ntype = \"http\"\nverify = { scheme = \"none\" }\n";
        let told = told(only_subscriptions, None, None, "127.0.0.1:8080");
        assert!(
            told.ends_with("# 503 no-route until a subscription takes it"),
            "{told}"
        );
    }

    #[test]
    fn where_nothing_is_signed_any_client_will_do() {
        let told = told("", None, None, "127.0.0.1:8080");
        assert_eq!(
            told,
            "curl -i -d '{\"hello\":\"world\"}' http://127.0.0.1:8080/webhook"
        );
        let split = SIGNED.replace(
            "verify = { scheme = \"bearer\", secrets = [\"a-secret\"] }",
            "split = \"/events\"",
        );
        assert_eq!(
            self::told(&split, None, None, "127.0.0.1:9000"),
            "forebay send --config f.toml --source a"
        );
    }
}
