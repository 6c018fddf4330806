//! HTTP to a server in a container through a port published on 127.0.0.1, beside the same server without a container.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tare_tests::{World, capture, debian_image, until};

use super::measure::{Contender, race_in};
use super::peers::{Dockerd, Podman};

pub(super) const RUNS: u32 = 5;
const SECONDS: u32 = 3;
/// The size of nginx's own first page.
const PAGE: usize = 612;
const NAME: &str = "tare-bench-http";
const ABSENT: &str = "the server does not answer";

/// A server somewhere, and how it is ended.
struct Site {
    name: &'static str,
    port: u16,
    end: Option<Command>,
    process: Option<Child>,
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(end) = &mut self.end {
            let _ = capture(end);
        }
        if let Some(process) = &mut self.process {
            let pid = rustix::process::Pid::from_child(process);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = process.wait();
        }
    }
}

/// Measures it: 32 connections that stay open, one thread of wrk, one of nginx.
pub(super) fn run(world: &World, dockerd: Option<&Dockerd>, runs: u32) -> Result<()> {
    let image = world.push_debian()?;
    let dir = world.dir().join("bench-http");
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("index.html"), "x".repeat(PAGE))?;
    let mut sites = vec![bare(world, &dir)?];
    sites.push(contained("tare", world, &dir, &image, 18081, || world.tare_command())?);
    if let Some(dockerd) = dockerd {
        sites.push(contained("dockerd", world, &dir, &image, 18082, || dockerd.command(world))?);
    }
    if let Some(podman) = Podman::find(world) {
        sites.push(contained("podman", world, &dir, &image, 18083, || Ok(podman.command(world)))?);
    }
    let slowest = RefCell::new(BTreeMap::new());
    let all = sites.iter().map(|site| contender(world, site, &slowest)).collect();
    race_in(
        "req/s",
        "HTTP through a port published on 127.0.0.1 (ratio = requests over the floor's)",
        all,
        runs,
    )?;
    for (name, time) in slowest.borrow().iter() {
        println!("  {name:<34}{time:>8} for the slowest of a hundred, in the last run");
    }
    println!();
    Ok(())
}

fn contender<'a>(
    world: &'a World,
    site: &'a Site,
    slowest: &'a RefCell<BTreeMap<&'static str, String>>,
) -> Contender<'a> {
    Contender::timed(site.name, move || {
        let mut wrk = world.command("wrk");
        wrk.args(["-t1", "-c32", &format!("-d{SECONDS}s"), "--latency"]);
        let Ok(ran) = capture(wrk.arg(format!("http://127.0.0.1:{}/", site.port))) else {
            return Ok(Err("wrk is not installed".to_owned()));
        };
        let field = |name: &str| {
            let line = ran.out.lines().find_map(|line| line.trim().strip_prefix(name));
            line.map(|rest| rest.trim().to_owned())
        };
        let rate = field("Requests/sec:").and_then(|rate| rate.parse::<f64>().ok());
        slowest.borrow_mut().insert(site.name, field("99%").unwrap_or_default());
        Ok(rate.filter(|rate| *rate > 0.0).ok_or_else(|| ABSENT.to_owned()))
    })
}

/// The configuration of a server whose files lie below /bench.
fn configure(dir: &Path, listen: &str) -> Result<PathBuf> {
    let file = dir.join(format!("{}.conf", listen.replace(':', "-")));
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.iter().map(|name| format!("{name}_temp_path /tmp/{name};")).collect();
    let text = format!(
        "daemon off; worker_processes 1; pid /tmp/nginx.pid; error_log stderr crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; {temporary}\n\
         server {{ listen {listen}; root /bench; }} }}\n"
    );
    std::fs::write(&file, text)?;
    Ok(file)
}

/// The same nginx, out of the image and in no container.
fn bare(world: &World, dir: &Path) -> Result<Site> {
    const LISTEN: &str = "127.0.0.1:18080";
    let bundle = world.dir().join("bench-http-bare");
    let image = debian_image()?;
    let image = image.strip_prefix("oci:").unwrap_or(&image);
    let unpacked = capture(Command::new("umoci").args(["unpack", "--image", image]).arg(&bundle))?;
    ensure!(unpacked.code == 0, "{}: {}", unpacked.line, unpacked.err);
    let root = bundle.join("rootfs");
    std::fs::create_dir_all(root.join("bench"))?;
    let conf = configure(dir, LISTEN)?;
    for file in [&conf, &dir.join("index.html")] {
        std::fs::copy(file, root.join("bench").join(file.file_name().context("it has a name")?))?;
    }
    let inside = format!("/bench/{}", conf.file_name().unwrap_or_default().to_string_lossy());
    let mut nginx = world.command("chroot");
    nginx.arg(&root).args(["nginx", "-c", &inside]);
    let process = nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let site = Site { name: "no container (floor)", port: 18080, end: None, process: Some(process) };
    answers(world, site.port)?;
    Ok(site)
}

fn contained(
    name: &'static str,
    world: &World,
    dir: &Path,
    image: &str,
    port: u16,
    command: impl Fn() -> Result<Command>,
) -> Result<Site> {
    configure(dir, "80")?;
    let (volume, publish) = (format!("{}:/bench:ro", dir.display()), format!("127.0.0.1:{port}:80"));
    let started = capture(command()?.args([
        "run",
        "-d",
        "--name",
        NAME,
        "-v",
        &volume,
        "-p",
        &publish,
        image,
        "nginx",
        "-c",
        "/bench/80.conf",
    ]))?;
    if started.code != 0 {
        println!("{name} starts no server: {}", started.err.lines().last().unwrap_or_default());
    }
    let mut end = command()?;
    end.args(["rm", "-f", NAME]);
    let site = Site { name, port, end: Some(end), process: None };
    // One that does not answer is left out when it is asked.
    let _ = if started.code == 0 { answers(world, port) } else { Ok(()) };
    Ok(site)
}

fn answers(world: &World, port: u16) -> Result<()> {
    let url = format!("http://127.0.0.1:{port}/");
    until("the server to answer", || {
        Ok(capture(world.command("curl").args(["-sf", "-o", "/dev/null", &url]))?.code == 0)
    })
}
