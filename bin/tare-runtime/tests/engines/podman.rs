//! podman with `--runtime`.

use std::fs;

use crate::world::{OURS, World, compare};

struct Podman {
    world: World,
    runtime: &'static str,
}

impl Podman {
    fn of(runtime: &'static str) -> Option<Self> {
        let world = World::of(&["podman", "conmon"])?;
        // It would raise limits, which not every machine allows.
        let config = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
        fs::write(world.path("containers.conf"), config).unwrap();
        Some(Self { world, runtime })
    }

    fn flags(&self) -> Vec<String> {
        let path = |name: &str| self.world.path(name);
        let conf = format!("CONTAINERS_CONF={}", path("containers.conf"));
        let (root, run, tmp) = (path("root"), path("run"), path("tmp"));
        let words = [
            &conf,
            "podman",
            "--root",
            &root,
            "--runroot",
            &run,
            "--tmpdir",
            &tmp,
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "file",
            "--runtime",
            self.runtime,
        ];
        words.iter().map(ToString::to_string).collect()
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let flags = self.flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let answer = self.world.answer("env", &[flags.as_slice(), arguments].concat());
        answer.split_once(&format!("--runtime {} ", self.runtime)).unwrap().1.to_owned()
    }

    fn run(&self, flags: &[&str], program: &[&str]) -> String {
        let (root, group) = (self.world.path("rootfs"), self.world.group());
        let fixed = ["run", "--network", "none", "--cgroup-parent", &group];
        let answer = self.ask(&[&fixed[..], flags, &["--rootfs", &root], program].concat());
        answer.replacen(&root, "ROOT", 1).replacen(&group, "GROUP", 1)
    }

    fn answers(&self) -> Vec<String> {
        let state = || self.ask(&["inspect", "one", "-f", "{{.State.Status}} {{.State.ExitCode}}"]);
        let ended = |answer: String| answer.contains(": 0 ").to_string();
        let mut answers = vec![
            self.run(&["--rm"], &["sh", "-c", "echo hi; exit 3"]),
            self.run(&["--rm"], &["nothing"]),
            self.run(&["--rm"], &["/etc"]),
            self.run(
                &["--rm", "--user", "5:6", "--read-only", "--cap-drop", "all"],
                &["sh", "-c", "id -u; touch /x"],
            ),
            self.run(&["--rm", "--memory", "16m"], &["sh", "-c", "a=x; while :; do a=$a$a; done"]),
            ended(self.run(&["-d", "--name", "one", "--memory", "64m"], &["sleep", "1000"])),
            state(),
            self.ask(&["exec", "one", "sh", "-c", "echo in; exit 5"]),
            self.ask(&["exec", "one", "nothing"]),
            self.ask(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "one"]),
            self.ask(&["top", "one", "pid", "comm"]),
            ended(self.ask(&["pause", "one"])),
            state(),
            self.ask(&["exec", "one", "true"]),
            ended(self.ask(&["unpause", "one"])),
            ended(self.ask(&["update", "--memory", "32m", "one"])),
            ended(self.ask(&["restart", "-t", "0", "one"])),
            state(),
            ended(self.ask(&["kill", "one"])),
            self.ask(&["wait", "one"]),
            state(),
            ended(self.ask(&["rm", "-f", "one"])),
        ];
        let flags = self.flags().join(" ");
        let line = format!(
            "env {flags} run --rm -it --network none --cgroup-parent {} --rootfs {} sh -c 'tty; exit 6'",
            self.world.group(),
            self.world.path("rootfs")
        );
        // podman itself may be gone before it has printed what a short program wrote.
        let answer = self.world.answer_on_terminal(&line);
        answers.push(answer.split_once(':').map_or(String::new(), |(code, _)| code.to_owned()));
        answers
    }
}

#[test]
fn podman_answers_as_with_runc() {
    let Some(theirs) = Podman::of("runc") else { return };
    let runc = theirs.answers();
    assert!(runc[0].ends_with(": 3 hi"), "{}", runc[0]);
    drop(theirs);
    let Some(ours) = Podman::of(OURS) else { return };
    compare(&runc, &ours.answers());
}
