//! `forebay serve`

use std::path::PathBuf;

use anyhow::Context as _;

use crate::app::stores::OpenFlags;
use crate::app::{self, telemetry};
use crate::config::{self, Config, Flags, LogFormat};
use crate::exit::{Exit, Failure, Outcome};

/// Run the server
///
/// Without a configuration it takes posts on http://127.0.0.1:8080/webhook into ./forebay-data/events.db.
/// SIGTERM stops it in order; SIGHUP reads secret files and certificates again.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub listeners: ListenerArgs,
    /// Wait until another process lets go of the data directory, instead of exiting with code 1
    #[arg(long)]
    wait_for_lock: bool,
    /// Start although journal or state lost something: what the journal lost is counted as damaged; without
    /// state, what the journal holds is delivered again, and parked events and dead letters are given up
    #[arg(long)]
    accept_loss: bool,
}

/// The addresses, for commands that have to do with them.
#[derive(Debug, Default, clap::Args)]
pub struct ListenerArgs {
    /// Where events are taken, address and port [default: server.listen, else 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where the admin API and /metrics are served, address and port [default: server.admin, else
    /// 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

/// What every command takes that reads the configuration.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file [default: ./forebay.toml, else /etc/forebay/forebay.toml, else built in]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory, where journal and state live [default: server.data_dir, else ./forebay-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

impl ConfigArgs {
    /// Reads the configuration for a command that reaches no destination, and may be run where what they
    /// need is not there.
    ///
    /// # Errors
    /// The first mistake, exit code 2.
    pub fn load(&self) -> Outcome<Config> {
        self.read(&Flags {
            no_destinations: true,
            data_dir: self.data_dir.clone(),
            ..Flags::default()
        })
    }

    /// Reads the configuration with its destinations, and with addresses from the command line.
    ///
    /// # Errors
    /// The first mistake, exit code 2.
    pub fn load_with(&self, listeners: &ListenerArgs) -> Outcome<Config> {
        self.read(&Flags {
            no_destinations: false,
            listen: listeners.listen.clone(),
            admin: listeners.admin.clone(),
            data_dir: self.data_dir.clone(),
        })
    }

    fn read(&self, flags: &Flags) -> Outcome<Config> {
        config::load(self.config.as_deref(), flags)
            .map_err(|error| Failure::new(Exit::Usage, error))
    }
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let config = args.config.load_with(&args.listeners)?;
    telemetry::start(&config.log);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let format = config.log.format;
    serve(args, config)
        .map_err(or_wait)
        .map_err(|failure| match format {
            LogFormat::Text => failure,
            LogFormat::Json => {
                tracing::error!("{failure}");
                Failure {
                    logged: true,
                    ..failure
                }
            }
        })
}

/// Other commands find a locked data directory as well, but only this one can wait for it.
fn or_wait(failure: Failure) -> Failure {
    match failure.error.downcast_ref() {
        Some(journal::OpenError::Locked { .. }) => Failure::say(
            failure.exit,
            format!("{failure}, or start with --wait-for-lock, which waits until it has ended"),
        ),
        _ => failure,
    }
}

fn serve(args: &Args, config: Config) -> Outcome {
    let flags = OpenFlags {
        wait_for_lock: args.wait_for_lock,
        accept_loss: args.accept_loss,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(app::serve(config, flags));
    // What was cut at its deadline is not waited for a second time.
    runtime.shutdown_background();
    outcome
}
