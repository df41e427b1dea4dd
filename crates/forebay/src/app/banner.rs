//! What `serve` prints when it runs: what it chose, and a line that proves it works.

use super::VERSION;
use super::running::Running;
use crate::config::Config;

/// Prints to standard error.
pub fn print(config: &Config, running: &Running) {
    let server = &config.server;
    let (listen, admin) = (running.ingest_address(), running.admin_address());
    let file = config
        .file
        .as_ref()
        .map_or("built in".into(), |path| path.display().to_string());
    eprintln!("Forebay {VERSION}");
    eprintln!(
        "  configuration  {file}{}",
        if config.built_in_route {
            ", with the built-in route"
        } else {
            ""
        }
    );
    eprintln!(
        "  data           {} ({})",
        server.data_dir.display(),
        durability(running)
    );
    eprintln!("  ingest         http://{listen}");
    eprintln!("  admin          http://{admin}");
    for (name, route) in &config.routes {
        let from: Vec<&str> = route.from.iter().map(domain::SourceName::as_str).collect();
        let kind = config
            .destinations
            .get(&route.to)
            .map_or("", |destination| destination.port.kind());
        eprintln!(
            "  route          {name}: {} -> {} ({kind})",
            from.join(", "),
            route.to
        );
    }
    let unsigned = config.sources.iter().find(|(_, source)| {
        source
            .verify
            .as_ref()
            .is_none_or(|verify| *verify == ingest::verify::VerifyOptions::none())
    });
    match unsigned {
        Some((name, source)) => {
            let path = source
                .paths
                .first()
                .cloned()
                .unwrap_or_else(|| format!("/in/{name}"));
            eprintln!(
                "Try it:  curl -i -d '{{\"hello\":\"world\"}}' http://{}{path}",
                reachable(listen)
            );
        }
        None => {
            if let Some(name) = config.sources.keys().next() {
                let config = config.file.as_ref().map_or(String::new(), |path| {
                    format!("--config {} ", path.display())
                });
                eprintln!("Try it:  forebay send {config}--source {name}");
            }
        }
    }
}

fn durability(running: &Running) -> &'static str {
    match running.journal().durability() {
        domain::ports::Durability::Disk => "every 2xx is on disk",
        domain::ports::Durability::Replicated => "every 2xx is replicated",
        domain::ports::Durability::ProcessCrashOnly => "a 2xx survives a crash of the process only",
    }
}

/// An address a client on this machine can use.
fn reachable(listen: std::net::SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        format!("localhost:{}", listen.port())
    } else {
        listen.to_string()
    }
}
