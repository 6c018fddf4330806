//! How long a pull takes into an empty data root: `cargo bench -p tare-image -- REFERENCE [RUNS [DIRECTORY]]`.
//!
//! The registry is the caller's, best one on loopback. Each run has a data root of its own below DIRECTORY, which
//! decides the file system. All of them go at the end: ext4 steps over inodes that were freed within the last minutes
//! one by one, by which a run would pay for the removal of the one before.

use std::path::Path;
use std::time::{Duration, Instant};

use tare_image::{Images, PullRequest};
use tare_registry::{Config, Registry};
use tare_snapshot::Snapshots;
use tare_store::Store;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(reference) = arguments.next() else {
        println!("skipped: needs a reference to pull");
        return Ok(());
    };
    let runs = arguments.next().map_or(Ok(5), |runs| runs.parse())?;
    let home = arguments.next().unwrap_or_else(|| std::env::temp_dir().display().to_string());
    let all = tempfile::tempdir_in(&home)?;
    let mut times = Vec::new();
    for _ in 0..runs {
        let root = tempfile::tempdir_in(&all)?.keep();
        times.push(pull(&reference, &root).await?);
        println!("{:.3} s", times[times.len() - 1].as_secs_f64());
    }
    times.sort();
    println!("median {:.3} s of {runs}", times[times.len() / 2].as_secs_f64());
    Ok(())
}

async fn pull(reference: &str, root: &Path) -> Result<Duration> {
    let store = Store::open(&root.join("store"))?;
    let snapshots = Snapshots::open(&root.join("snapshots"), store.clone())?;
    let registry = Registry::new(Config::default())?;
    let images = Images::open(&root.join("content"), store, snapshots, registry).await?;
    let request = PullRequest {
        reference: reference.parse()?,
        platform: None,
        all_platforms: false,
        credentials: None,
    };
    let begin = Instant::now();
    images.pull(request, |_| {}).await?;
    Ok(begin.elapsed())
}
