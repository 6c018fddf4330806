//! `tared registry`: a registry of one's own, in a process and a directory of its own. It needs no daemon and no root.

use std::ffi::OsString;
use std::fs::File;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tare_depot::Depot;
use tare_distribution::{Gate, Passwords, Service};
use tare_http::Listener;

use crate::notify;
use crate::stop::Stop;

/// A registry of one's own, for images and other OCI artifacts
#[derive(Debug, Parser)]
#[command(name = "tare registry", version, about, long_about = None)]
struct CommandLine {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Serve it, until it is told to end
    Serve(Serve),
    /// Remove what no manifest names, while it is not served
    Gc(Gc),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5000")]
    addr: SocketAddr,
    #[command(flatten)]
    place: Place,
    /// Names and bcrypt hashes of those who may read and write (htpasswd -B)
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Others may read
    #[arg(long, requires = "htpasswd")]
    anonymous_read: bool,
    /// Nobody may write
    #[arg(long)]
    read_only: bool,
    /// The certificate, with those that vouch for it, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve other machines without TLS, or without asking who they are, and this one under any name
    #[arg(long)]
    insecure: bool,
    /// Hours after which an upload that nobody goes on with is given up
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    upload_expiry: u64,
    /// Hours between two removals of what no manifest names; 0 for none
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    gc_interval: u64,
}

#[derive(Debug, clap::Args)]
struct Gc {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Place {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/tare-registry")]
    root: PathBuf,
    /// Hours that a push may take from its first blob to its manifest, before the blob may be removed
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    gc_grace: u64,
}

const HOUR: Duration = Duration::from_secs(3600);
/// Between two looks for uploads that nobody goes on with.
const LOOK: Duration = Duration::from_secs(600);

/// Carries out `tared registry …`; `arguments` begin with the program's name.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    let line = CommandLine::parse_from(arguments);
    crate::start_log(tracing::level_filters::LevelFilter::INFO);
    match line.what {
        What::Gc(gc) => {
            let depot = Depot::open(&gc.place.root)?;
            let collected = depot.collect(HOUR * u32::try_from(gc.place.gc_grace).unwrap_or(u32::MAX))?;
            let freed = tare_model::format_bytes(collected.bytes);
            println!("removed {} blobs, {freed}", collected.blobs);
            Ok(())
        }
        What::Serve(serve) => {
            serve.check()?;
            crate::raise_limit();
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let runtime = runtime.context("cannot start the threads")?;
            let served = runtime.block_on(serve.run());
            runtime.shutdown_timeout(Duration::from_secs(2));
            served
        }
    }
}

impl Serve {
    /// An open door is opened on purpose only.
    fn check(&self) -> Result<()> {
        let here = self.addr.ip().is_loopback() || self.insecure;
        ensure!(
            here || self.htpasswd.is_some(),
            "{} is refused: whoever reaches it could read and write everything; name who may with --htpasswd, or say --insecure",
            self.addr
        );
        ensure!(
            here || self.tls_cert.is_some(),
            "{} is refused: passwords and images would go over the network in plain; give --tls-cert and --tls-key, or say --insecure",
            self.addr
        );
        Ok(())
    }

    /// Whether programs of this machine alone are meant, and asked for nothing: then a page in a browser here must not pass for
    /// one of them.
    fn is_for_this_machine(&self) -> bool {
        self.htpasswd.is_none() && !self.insecure && self.addr.ip().is_loopback()
    }

    async fn run(self) -> Result<()> {
        let stop = Stop::listen()?;
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(Arc::new(tls(certificate, key)?)),
            _ => None,
        };
        let gate = match &self.htpasswd {
            Some(path) => Gate::with(Passwords::open(path)?, self.anonymous_read),
            None => Gate::open(),
        };
        let depot = Arc::new(Depot::open(&self.place.root)?);
        let listener = Listener::public(self.addr, tls.clone())?;
        let listener = if self.is_for_this_machine() { listener.without_pages() } else { listener };
        tracing::info!(
            "the registry listens on {}, and keeps its content in {}",
            listener.address(),
            self.place.root.display()
        );
        let service =
            Service { depot: Arc::clone(&depot), gate, read_only: self.read_only, tls: tls.is_some() };
        let keeping = tokio::spawn(keep_tidy(Arc::clone(&depot), self.hours()));
        notify::ready();
        let again = || {
            tracing::info!(
                "nothing to be read again: certificates count from the next start on, passwords at once"
            )
        };
        tare_http::serve(
            vec![listener],
            tare_distribution::router(service),
            tare_sys::heap::give_back,
            stop.wait(again),
        )
        .await;
        keeping.abort();
        Ok(())
    }

    fn hours(&self) -> Hours {
        let hours = |number: u64| HOUR.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
        Hours {
            expiry: hours(self.upload_expiry),
            interval: (self.gc_interval > 0).then(|| hours(self.gc_interval)),
            grace: hours(self.place.gc_grace),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Hours {
    expiry: Duration,
    interval: Option<Duration>,
    grace: Duration,
}

/// Gives up abandoned uploads and removes what nobody names, now and then.
async fn keep_tidy(depot: Arc<Depot>, hours: Hours) {
    let mut since = Duration::ZERO;
    loop {
        let due = hours.interval.is_some_and(|interval| since >= interval);
        since = if due { Duration::ZERO } else { since };
        let depot = Arc::clone(&depot);
        let done = tokio::task::spawn_blocking(move || {
            let expired = depot.expire(hours.expiry)?;
            let collected = if due { depot.collect(hours.grace)? } else { tare_depot::Collected::default() };
            if expired > 0 || collected.blobs > 0 {
                tracing::info!("removed {expired} uploads and {} blobs", collected.blobs);
            }
            Ok::<_, tare_depot::Error>(())
        });
        if let Ok(Err(error)) = done.await {
            tracing::warn!("cannot tidy the registry up: {error}");
        }
        tokio::time::sleep(LOOK).await;
        since += LOOK;
    }
}

fn tls(certificate: &Path, key: &Path) -> Result<ServerConfig> {
    let read = |path: &Path| -> Result<BufReader<File>> {
        Ok(BufReader::new(File::open(path).with_context(|| format!("cannot open {}", path.display()))?))
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(read(certificate)?).collect();
    let chain = chain.with_context(|| format!("{} holds no certificates", certificate.display()))?;
    ensure!(!chain.is_empty(), "{} holds no certificate", certificate.display());
    let key_of = PrivateKeyDer::from_pem_reader(read(key)?);
    let key_of = key_of.map_err(|error| anyhow::anyhow!("{} holds no key: {error}", key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, key_of);
    let mut config =
        config.with_context(|| format!("{} and {} do not fit", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str]) -> Result<()> {
        let words = ["tared", "serve"].iter().chain(words);
        match CommandLine::try_parse_from(words)?.what {
            What::Serve(serve) => serve.check(),
            What::Gc(_) => Ok(()),
        }
    }

    #[test]
    fn pages_are_kept_out_where_nobody_is_asked_for_a_password() {
        let alone = |words: &[&str]| {
            let words = ["tared", "serve"].iter().chain(words);
            match CommandLine::parse_from(words).what {
                What::Serve(serve) => serve.is_for_this_machine(),
                What::Gc(_) => false,
            }
        };
        assert!(alone(&[]) && alone(&["--addr", "[::1]:5000"]));
        assert!(!alone(&["--htpasswd", "f"]), "a page knows no password");
        assert!(!alone(&["--insecure"]) && !alone(&["--insecure", "--addr", "0.0.0.0:5000"]));
    }

    #[test]
    fn other_machines_are_served_with_passwords_and_tls_or_on_purpose() {
        assert!(check(&[]).is_ok() && check(&["--addr", "[::1]:5000"]).is_ok());
        let open = check(&["--addr", "0.0.0.0:5000"]).unwrap_err().to_string();
        assert!(open.contains("--htpasswd"), "{open}");
        let plain = check(&["--addr", "0.0.0.0:5000", "--htpasswd", "f"]).unwrap_err().to_string();
        assert!(plain.contains("--tls-cert"), "{plain}");
        assert!(
            check(&["--addr", "0.0.0.0:5000", "--htpasswd", "f", "--tls-cert", "c", "--tls-key", "k"])
                .is_ok()
        );
        assert!(check(&["--addr", "0.0.0.0:5000", "--insecure"]).is_ok());
        for bad in [&["--anonymous-read"][..], &["--tls-cert", "c"], &["--addr", "x"]] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
