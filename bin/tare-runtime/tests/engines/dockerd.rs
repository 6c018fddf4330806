//! dockerd with `--add-runtime`.

use std::process::{Command, Stdio};

use crate::world::{OURS, World, compare};

struct Docker {
    world: World,
    host: String,
}

impl Docker {
    fn start() -> Option<Self> {
        let mut world = World::of(&["dockerd", "docker", "containerd"])?;
        let socket = world.path("docker.sock");
        let (data, exec, pid) = (world.path("data"), world.path("exec"), world.path("docker.pid"));
        let (group, runtime) = (world.group(), format!("tare={OURS}"));
        let config = world.path("daemon.json");
        std::fs::write(&config, "{}").unwrap();
        let host = format!("unix://{socket}");
        let arguments = [
            "--config-file",
            &config,
            "--data-root",
            &data,
            "--exec-root",
            &exec,
            "--pidfile",
            &pid,
            "--host",
            &host,
            "--bridge",
            "none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--storage-driver",
            "vfs",
            "--add-runtime",
            &runtime,
            "--cgroup-parent",
            &group,
        ];
        world.serve("dockerd", &arguments, &socket);
        let docker = Self { world, host };
        let mut tar = Command::new("tar");
        tar.args(["-C", &docker.world.path("rootfs"), "-c", "."]).stdout(Stdio::piped());
        let mut tar = tar.spawn().unwrap();
        let mut import = Command::new("docker");
        import.args(["-H", &docker.host, "import", "-", "test"]).stdin(tar.stdout.take().unwrap());
        assert!(import.stdout(Stdio::null()).status().unwrap().success() && tar.wait().unwrap().success());
        Some(docker)
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let answer = self.world.answer("docker", &[&["-H", &self.host], arguments].concat());
        answer.split_once("docker.sock ").unwrap().1.to_owned()
    }

    /// Short-lived ones, each with another demand.
    fn runs(&self, runtime: &str) -> Vec<String> {
        let run = |arguments: &[&str]| {
            let all = [&["run", "--rm", "--network", "none", "--runtime", runtime], arguments].concat();
            self.ask(&all).replacen(runtime, "RUNTIME", 1)
        };
        vec![
            run(&["test", "sh", "-c", "echo hi; exit 3"]),
            run(&["test", "nothing"]),
            run(&["test", "/etc"]),
            run(&["--workdir", "/made/here", "test", "pwd"]),
            run(&[
                "--user",
                "5:6",
                "--cap-drop",
                "ALL",
                "--read-only",
                "test",
                "sh",
                "-c",
                "id; grep Cap /proc/self/status; touch /x",
            ]),
            run(&[
                "--ulimit",
                "nofile=100:200",
                "--hostname",
                "named",
                "test",
                "sh",
                "-c",
                "ulimit -n; cat /etc/hostname",
            ]),
            run(&["--sysctl", "net.ipv4.ip_forward=1", "test", "cat", "/proc/sys/net/ipv4/ip_forward"]),
            run(&[
                "--env",
                "A=b",
                "--tmpfs",
                "/t",
                "--device",
                "/dev/full",
                "test",
                "sh",
                "-c",
                "echo $A; ls /t /dev/full",
            ]),
            run(&["--pid", "host", "--ipc", "host", "--uts", "host", "test", "true"]),
            run(&["--init", "test", "sh", "-c", "cat /proc/1/comm"]),
            run(&["--memory", "16m", "test", "sh", "-c", "a=x; while :; do a=$a$a; done"]),
        ]
    }

    /// One that stays.
    fn life(&self, runtime: &str) -> Vec<String> {
        let state = || {
            self.ask(&["inspect", "one", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}"])
        };
        let run = [
            "run",
            "-d",
            "--network",
            "none",
            "--runtime",
            runtime,
            "--memory",
            "64m",
            "--name",
            "one",
            "test",
        ];
        let begun = self.ask(&[&run[..], &["sleep", "1000"]].concat()).contains(": 0 ");
        let mut answers = vec![
            begun.to_string(),
            state(),
            self.ask(&["exec", "one", "sh", "-c", "echo in; exit 4"]),
            self.ask(&["exec", "--user", "7", "--workdir", "/tmp", "one", "sh", "-c", "id -u; pwd"]),
            // Here the words come on standard output, with what runc puts before them.
            self.ask(&["exec", "one", "nothing"])
                .replace("exec failed: unable to start container process: ", ""),
            self.ask(&["exec", "-d", "one", "sleep", "1000"]),
            self.ask(&["top", "one", "-o", "args"]),
            self.ask(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "one"]),
            self.ask(&["pause", "one"]),
            state(),
            self.ask(&["exec", "one", "true"]),
            self.ask(&["unpause", "one"]),
            state(),
            self.ask(&["update", "--memory", "32m", "--memory-swap", "64m", "--cpus", "0.5", "one"]),
            self.ask(&["exec", "one", "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]),
            self.ask(&["restart", "-t", "0", "one"]),
            state(),
            self.ask(&["kill", "one"]),
            self.ask(&["wait", "one"]),
            state(),
            self.ask(&["rm", "one"]),
        ];
        let line = format!(
            "docker -H {} run --rm --network none --runtime {runtime} -it test sh -c 'tty; exit 9'",
            self.host
        );
        answers.push(self.world.answer_on_terminal(&line));
        answers
    }

    /// What is told meanwhile, without what differs from one run to the next. dockerd tells of the end of an exec and of
    /// what ended it in either order.
    fn events(&self, since: &str) -> Vec<String> {
        let format = "{{.Action}} {{.Actor.Attributes.exitCode}}";
        let until = now();
        let filter = ["--filter", "type=container", "--format", format];
        let text = self.ask(&[&["events", "--since", since, "--until", &until], &filter[..]].concat());
        let lines = text.split_once(": 0 ").map_or(text.as_str(), |(_, lines)| lines).lines();
        let mut events: Vec<String> = lines.map(str::to_owned).collect();
        events.sort_unstable();
        events
    }
}

/// Seconds since 1970, as `docker events` takes them.
fn now() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

#[test]
fn dockerd_answers_as_with_runc() {
    let Some(docker) = Docker::start() else { return };
    let (runc, ours) = (docker.runs("runc"), docker.runs("tare"));
    assert!(runc[0].ends_with(": 3 hi"), "{}", runc[0]);
    compare(&runc, &ours);
    let begin = now();
    let runc = docker.life("runc");
    let middle = now();
    let theirs = docker.events(&begin);
    let ours = docker.life("tare");
    compare(&runc, &ours);
    assert_eq!(
        runc[9],
        "inspect one -f {{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}: 0 paused 0 false"
    );
    assert!(theirs.iter().any(|event| event.starts_with("pause")), "{theirs:?}");
    compare(&theirs, &docker.events(&middle));
}
