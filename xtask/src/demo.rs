//! A real image, end to end: what `make demo` shows a person.

use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tare_tests::{Daemon, Ran, Registry, binaries, capture, debian_image, until};

/// Runs the whole show and leaves the machine as it was.
pub(crate) fn run(image: Option<&str>) -> Result<()> {
    let begun = Instant::now();
    let stage = Stage::set()?;
    let told = show(&stage, image);
    stage.strike();
    told?;
    println!(
        "\n{} in {:.1} s; everything it made is gone again.",
        bold("The whole show"),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Where the show happens: a directory with a daemon of its own.
struct Stage {
    dir: PathBuf,
    daemon: Daemon,
    forwarding_before: String,
}

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

impl Stage {
    fn set() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("tare-demo-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let forwarding_before = std::fs::read_to_string(FORWARDING)?;
        say("A daemon of its own", "its own socket, its own data; Docker, if you have it, is not touched");
        let daemon = Daemon::start(&dir, &[], &plain)?;
        println!("  tared listens on {}", daemon.socket().display());
        Ok(Self { dir, daemon, forwarding_before })
    }

    /// Shows a command as a person would type it, runs it, shows what it prints.
    fn tare(&self, words: &[&str]) -> Result<Ran> {
        println!(
            "  {} {}",
            dim("$"),
            bold(&format!("tare {}", words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" ")))
        );
        let begun = Instant::now();
        let ran = capture(self.command()?.args(words))?;
        let printed = format!("{}{}", ran.out, ran.err);
        printed.lines().for_each(|line| println!("    {line}"));
        println!("    {}", dim(&format!("{:.0} ms", begun.elapsed().as_secs_f64() * 1000.0)));
        Ok(ran)
    }

    /// The same for a command that draws on the terminal itself.
    fn tare_live(&self, words: &[&str]) -> Result<()> {
        println!("  {} {}", dim("$"), bold(&format!("tare {}", words.join(" "))));
        let status = self.command()?.args(words).stdin(Stdio::null()).status()?;
        ensure!(status.success(), "tare {} failed", words.join(" "));
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binaries()?.join("tare"));
        command.env("TARE_HOST", format!("unix://{}", self.daemon.socket().display()));
        Ok(command)
    }

    fn strike(self) {
        say("Clean up", "containers, daemon, bridge, table, files");
        if let Ok(listed) = self.command().and_then(|mut tare| capture(tare.args(["ps", "-aq"]))) {
            let ids: Vec<&str> = listed.out.split_whitespace().collect();
            if !ids.is_empty() {
                let _ = self.command().and_then(|mut tare| capture(tare.args(["rm", "-f", "-v"]).args(ids)));
            }
        }
        drop(self.daemon);
        let _ = std::fs::write(FORWARDING, self.forwarding_before.trim());
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn show(stage: &Stage, image: Option<&str>) -> Result<()> {
    let registry; // lives until the end of the show
    let image = match image {
        Some(given) => given.to_owned(),
        None => {
            say(
                "A real image in a real registry",
                "Debian bookworm, nginx, python3: three layers from Debian's own packages",
            );
            let layout = debian_image()?;
            registry = Registry::start(&stage.dir, free_port()?, &plain)?;
            let pushed = registry.push(&layout, "web:v1", &plain)?;
            println!("  {pushed} is in docker-registry on {}", registry.address);
            pushed
        }
    };
    say("Pull", "layers side by side, every byte verified while it streams");
    stage.tare_live(&["pull", &image])?;
    stage.tare(&["images"])?.ok();
    isolation(stage, &image)?;
    limits(stage, &image)?;
    copy_on_write(stage, &image)?;
    server(stage, &image)
}

fn isolation(stage: &Stage, image: &str) -> Result<()> {
    say("Run", "one clone3, all namespaces: it sees itself and nothing else");
    let look = "hostname; ls -d /proc/[0-9]*; grep -E '^(CapEff|Seccomp):' /proc/self/status; grep PRETTY /etc/os-release";
    let ran = stage.tare(&["run", "--rm", "--hostname", "feather", image, "sh", "-c", look])?;
    ensure!(ran.ok().contains("feather"), "the container has the host name it was given");
    let failed = stage.tare(&["run", "--rm", image, "sh", "-c", "exit 42"])?;
    ensure!(failed.code == 42, "the exit code comes back");
    println!("    {}", dim("its exit code came back: 42"));
    Ok(())
}

fn limits(stage: &Stage, image: &str) -> Result<()> {
    say("Limits", "64 MB of memory for a program that wants ever more");
    let hog = "x=x; while true; do x=$x$x; done";
    let name = "hog";
    let ran = stage.tare(&[
        "run",
        "--name",
        name,
        "--memory",
        "64m",
        "--memory-swap",
        "64m",
        image,
        "sh",
        "-c",
        hog,
    ])?;
    ensure!(ran.code == 137, "the hog was killed, it did not end with {}", ran.code);
    let told = stage.tare(&[
        "inspect",
        "--format",
        "killed for its memory: {{.State.OOMKilled}}, exit code {{.State.ExitCode}}",
        name,
    ])?;
    ensure!(told.ok().contains("true"), "inspect says that it was killed for its memory");
    Ok(())
}

fn copy_on_write(stage: &Stage, image: &str) -> Result<()> {
    say("Copy on write", "what a container writes is its own; the image stays as it was");
    stage.tare(&["run", "--rm", image, "sh", "-c", "rm -rf /usr/share; ls /usr"])?.ok();
    let ran = stage.tare(&["run", "--rm", image, "sh", "-c", "ls -d /usr/share"])?;
    ensure!(ran.ok().trim() == "/usr/share", "the image still has its files");
    Ok(())
}

fn server(stage: &Stage, image: &str) -> Result<()> {
    say("A server", "its own address, one port of it published");
    let has_nginx =
        capture(stage.command()?.args(["run", "--rm", image, "sh", "-c", "command -v nginx"]))?.code == 0;
    if !has_nginx {
        println!("  this image has no nginx; left out");
        return Ok(());
    }
    let port = free_port()?;
    stage
        .tare(&[
            "run",
            "-d",
            "--name",
            "site",
            "-p",
            &format!("127.0.0.1:{port}:80"),
            image,
            "nginx",
            "-g",
            "daemon off;",
        ])?
        .ok();
    stage.tare(&["ps"])?.ok();
    stage
        .tare(&[
            "inspect",
            "--format",
            "address {{.NetworkSettings.IPAddress}}, pid on the host {{.State.Pid}}",
            "site",
        ])?
        .ok();
    let url = format!("http://127.0.0.1:{port}/");
    let fetch = || capture(Command::new("curl").args(["-s", &url]));
    until("nginx to answer", || Ok(fetch()?.code == 0))?;
    println!("  {} {}", dim("$"), bold(&format!("curl {url}")));
    let page = fetch()?;
    let title =
        page.out.lines().find(|line| line.contains("<title>")).context("nginx answered without a title")?;
    println!("    {}", title.trim());
    stage
        .tare(&["exec", "site", "sh", "-c", "echo \"inside, nginx is process $(cat /run/nginx.pid)\""])?
        .ok();
    stage.tare(&["stop", "site"])?.ok();
    let ended = stage.tare(&[
        "inspect",
        "--format",
        "stopped by its own signal, exit code {{.State.ExitCode}}",
        "site",
    ])?;
    ensure!(ended.ok().ends_with(" 0"), "nginx ended by SIGQUIT, gracefully");
    Ok(())
}

fn plain(program: &str) -> Command {
    Command::new(program)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn say(title: &str, text: &str) {
    println!("\n{}  {}", bold(title), dim(text));
    let _ = std::io::stdout().flush();
}

fn bold(text: &str) -> String {
    styled("1", text)
}

fn dim(text: &str) -> String {
    styled("2", text)
}

fn styled(code: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

fn quoted(word: &str) -> String {
    let plain =
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=@,".contains(&b));
    if plain { word.to_owned() } else { format!("'{word}'") }
}
